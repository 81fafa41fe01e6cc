import os
from pathlib import Path

import pytest
import yaml

from magma_bringup.demo import keep_logs_with_results, parse, play
from magma_contracts.errors import ConfigError


def test_defaults_and_what_they_become():
    options = parse(["--out", "there"])
    launch = options.launch_arguments()
    assert {
        "policy:=magma-tiny",
        "clock:=lockstep",
        "after_episode:=stop",
        "instruction:=none",
        "end_with_node:=true",
    } <= set(launch)
    assert not any(argument.startswith(("config:=", "record:=")) for argument in launch)
    runner = options.runner_arguments()
    assert runner[0] == "--ros-args" and "episodes:=10" in runner and "out:=there" in runner
    assert parse([]).out.parent == Path("runs/demo")


def test_choices_reach_graph_and_runner():
    words = "--task stack_blocks --policy expert --variant random --hold 4 --episodes 3 --teleop scripted --record /r"
    options = parse(words.split())
    graph = {"task:=stack_blocks", "policy:=expert", "variant:=random", "success_hold_steps:=4"}
    assert graph | {"teleop:=scripted", "record:=/r"} <= set(options.launch_arguments())
    assert {"task:=stack_blocks", "variant:=random", "success_hold_steps:=4", "episodes:=3"} <= set(
        options.runner_arguments()
    )


def test_every_episode_is_recorded_where_the_results_will_be(tmp_path):
    launch = parse(["--out", str(tmp_path / "run"), "--no-videos"]).launch_arguments()
    assert f"records:={tmp_path / 'run' / 'episodes'}" in launch


def test_the_command_is_kept_whatever_is_in_it():
    words = parse([]).runner_arguments("./run demo --config 'a: b'")
    assert yaml.safe_load(words[-1].partition(":=")[2]) == "./run demo --config 'a: b'"


@pytest.mark.parametrize("wrong", ["--first-layout 20", "--first-layout 24 --episodes 1"])
def test_layouts_that_a_task_does_not_have_are_refused_before_anything_starts(wrong, capsys):
    with pytest.raises(SystemExit):
        parse(wrong.split())
    assert "carrot_on_plate has 24 evaluation layouts" in capsys.readouterr().err
    assert parse([*wrong.split(), "--variant", "random"]).variant == "random"


@pytest.mark.parametrize("wrong", ["--episodes 0", "--first-layout -1", "--task juggle", "--control dumb", "--spin"])
def test_a_wrong_command_line_is_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        parse(wrong.split())
    assert wrong.split()[0] in capsys.readouterr().err


@pytest.mark.parametrize("policy", ["magma-tinny", "magma:", "expert:fast", "no/such/checkpoint/here", "demo.pt"])
def test_a_policy_that_is_not_there_is_refused_before_anything_starts(policy, tmp_path):
    with pytest.raises(ConfigError, match=r"--policy: .*polic"):
        play(parse(["--policy", policy, "--out", str(tmp_path / "out")]))
    assert not list(tmp_path.iterdir())


def test_logs_of_ros_go_beside_the_results_where_the_home_cannot_be_written(monkeypatch, tmp_path):
    for name in ("ROS_LOG_DIR", "ROS_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    keep_logs_with_results(tmp_path / "out")
    assert not os.environ["ROS_LOG_DIR"] and list(tmp_path.iterdir()) == []
    monkeypatch.setenv("HOME", "/proc/nohome")
    keep_logs_with_results(tmp_path / "out")
    assert os.environ["ROS_LOG_DIR"] == str(tmp_path / "out" / "log")
    monkeypatch.setenv("ROS_LOG_DIR", "/mine")
    keep_logs_with_results(tmp_path / "out")
    assert os.environ["ROS_LOG_DIR"] == "/mine"
