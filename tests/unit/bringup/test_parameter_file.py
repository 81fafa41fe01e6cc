"""Parameter files are checked before anything starts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from magma_bringup.parameter_file import NODES, check_parameter_file
from magma_contracts.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["controller", "/controller", "/**", "'*'", "/**/policy", "'/*'"])
def test_names_of_our_nodes_are_taken(tmp_path, name):
    path = tmp_path / "place.yaml"
    path.write_text(f"{name}:\n  ros__parameters:\n    limit: 1.0\n")
    check_parameter_file(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("controler:\n  ros__parameters: {limit: 1.0}\n", "no node is called controler; did you mean controller?"),
        ("policy_node:\n  ros__parameters: {limit: 1.0}\n", "did you mean policy?"),
        ("gripper:\n  ros__parameters: {limit: 1.0}\n", "the nodes are camera_subscriber, "),
        ("controller: {ros__parameters: {a: 1}}\nsimulater: {ros__parameters: {a: 1}}\n", "did you mean simulator?"),
        ("left:\n  controller:\n    ros__parameters: {a: 1}\n", "left/controller; the nodes of this launch are in"),
        ("/left/controller:\n  ros__parameters: {a: 1}\n", "left/controller; the nodes of this launch are in"),
        ("controller:\n  limit: 1.0\n", "controller/limit is not below ros__parameters"),
        ("controller:\n  ros_parameters:\n    limit: 1.0\n", "controller/ros_parameters/limit is not below"),
        ("controller:\n", "controller is not below ros__parameters"),
        ("controller: 3\n", "controller is not below ros__parameters"),
        ("controller:\n  ros__parameters: 3\n", "takes names and values, got 3"),
        ("limit: 1.0\n", "limit is not below ros__parameters"),
        ("", "holds no parameters"),
        ("- controller\n", "holds no parameters"),
        (
            "controller: {ros__parameters: {a: 1}}\ncontroller: {ros__parameters: {b: 1}}\n",
            "'controller' twice, in lines 1 and 2",
        ),
        ("controller:\n  ros__parameters:\n    a: 1\n    a: 2\n", "'a' twice, in lines 3 and 4"),
    ],
)
def test_what_would_be_dropped_in_silence_is_refused(tmp_path, text, says):
    path = tmp_path / "place.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        check_parameter_file(path)
    assert says in str(refused.value) and str(path) in str(refused.value)


def test_in_a_namespace_the_names_are_those_of_the_namespace(tmp_path):
    path = tmp_path / "place.yaml"
    path.write_text("left:\n  controller:\n    ros__parameters: {a: 1}\n")
    check_parameter_file(path, "/left")
    path.write_text("controller:\n  ros__parameters: {a: 1}\n")
    with pytest.raises(ConfigError, match="in the namespace /left"):
        check_parameter_file(path, "/left")


def test_all_nodes_of_this_project_are_known():
    """Every program that a package installs, but the commands for people, which bear no node."""
    programs = set()
    for path in ROOT.glob("ros2_ws/src/*/setup.py"):
        programs |= set(re.findall(r'"([\w-]+) = \w+\.\w+:main"', path.read_text(encoding="utf-8")))
    nodes = {name for name in programs if not name.startswith("magma-")} - {"demo", "joint_simulator"}
    assert nodes == set(NODES)


def test_our_own_parameter_files_are_taken():
    files = sorted((ROOT / "launch").glob("*.yaml"))
    assert files
    for path in files:
        check_parameter_file(path)
