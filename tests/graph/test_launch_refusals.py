"""What a launch does with what it cannot use: one sentence, everything ends, and the status says so."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_S = 120.0
ROS2 = shutil.which("ros2") or str(Path(sys.executable).with_name("ros2"))


def command(*arguments: str) -> list[str]:
    return [ROS2, "launch", "magma_bringup", "robot.launch.py", *arguments]


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("controler:\n  ros__parameters:\n    workspace_min_m: [0.3, -0.1, 0.0]\n", "did you mean controller?"),
        ("controller:\n  workspace_min_m: [0.3, -0.1, 0.0]\n", "is not below ros__parameters"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_parameter_file_that_is_wrong_starts_nothing(ros_domain, tmp_path, content, says):
    path = tmp_path / "place.yaml"
    if content is not None:
        path.write_text(content)
    done = launch("policy:=hold", f"config:={path}")
    assert done.returncode == 1
    assert says in done.stderr + done.stdout and "process started" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("variable", "argument", "says"), [("abc", "", "ROS_DOMAIN_ID=abc"), ("", "layout:=x", "layout:=x")]
)
def test_a_number_that_is_none_starts_nothing(ros_domain, monkeypatch, variable, argument, says):
    monkeypatch.setenv("ROS_DOMAIN_ID", variable or str(ros_domain))
    done = launch("policy:=hold", *filter(None, [argument]))
    assert done.returncode == 1
    assert says in done.stderr + done.stdout and "process started" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"task": "stack_block"}, "unknown task 'stack_block'; did you mean stack_blocks"),
        ({"layout": 30}, "evaluation layouts run from 0 to 23, got 30"),
        ({"task": "widowx_stack_cube"}, "Download it with"),
    ],
)
def test_a_simulator_that_cannot_play_says_why(start_node, tmp_path, monkeypatch, given, says):
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path))
    node = start_node("magma_sim_ros.simulator_node", given)
    assert node.wait(PATIENCE_S) == 2
    assert says in node.output and "Traceback" not in node.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["task:=juggle", "policy:=hold"], "unknown task 'juggle'"),
        (["sim:=none", "policy:=nonsense"], "nonsense"),
    ],
)
def test_a_node_that_cannot_use_what_it_was_given_ends_the_launch(ros_domain, arguments, says):
    done = launch(*arguments)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert says in output and "cannot run with what it was given" in output and "Traceback" not in output


def test_a_second_launch_in_one_domain_says_so_and_the_first_goes_on(ros_domain, tmp_path, start_node, wait):
    log = tmp_path / "first.log"
    with log.open("wb") as output:
        first = subprocess.Popen(
            command("sim:=none", "policy:=none"), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    try:
        wait(lambda: "active: holding" in log.read_text(errors="replace"), "the first launch")
        second = launch("sim:=none", "policy:=none")
        assert second.returncode == 1
        assert f"run in ROS domain {ros_domain} already" in second.stdout + second.stderr
        assert "process started" not in second.stdout + second.stderr
        assert first.poll() is None
        # Having looked around, the launch still hears Ctrl-C.
        first.send_signal(signal.SIGINT)
        assert first.wait(30.0) == 0
    finally:
        if first.poll() is None:
            first.terminate()
            first.wait(30.0)
