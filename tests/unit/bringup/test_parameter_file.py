"""Parameter files are checked before anything starts."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_bringup.launching.parameter_file import NODES, check_parameter_file, write_for_namespace
from magma_common.settings.yaml_files import read_yaml
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


def test_in_a_namespace_names_are_plain_or_those_of_the_namespace(tmp_path):
    path = tmp_path / "place.yaml"
    path.write_text("left:\n  controller:\n    ros__parameters: {a: 1}\n")
    check_parameter_file(path, "/left")
    path.write_text("controller:\n  ros__parameters: {a: 1}\n")
    check_parameter_file(path, "/left")
    path.write_text("right:\n  controller:\n    ros__parameters: {a: 1}\n")
    with pytest.raises(ConfigError, match="in the namespace /left"):
        check_parameter_file(path, "/left")
    path.write_text("left:\n  controler:\n    ros__parameters: {a: 1}\n")
    with pytest.raises(ConfigError, match="did you mean controller"):
        check_parameter_file(path, "/left")


def written(tmp_path, text, namespace="/cell/left"):
    path = tmp_path / "place.yaml"
    path.write_text(text, encoding="utf-8")
    folder = tmp_path / "written"
    folder.mkdir()
    return read_yaml(write_for_namespace(path, namespace, folder))


def test_a_plain_file_is_written_for_the_nodes_of_a_namespace(tmp_path):
    text = """
controller:
  ros__parameters:
    box: [0.25, -.3, 1e-2]
    fine: 2e-6
    name: "5"
    limits: {speed: 1.0, turn: 2.0}
    said: "größer \U0001f600"
cell:
  left:
    policy: {ros__parameters: {checkpoint: one}}
"""
    found = written(tmp_path, text)
    assert found == {
        "/cell/left/controller": {
            "ros__parameters": {
                "box": [0.25, -0.3, 0.01],
                "fine": 2e-6,
                "name": "5",
                "limits": {"speed": 1.0, "turn": 2.0},
                "said": "größer \U0001f600",
            }
        },
        "/cell/left/policy": {"ros__parameters": {"checkpoint": "one"}},
    }


def test_what_stands_later_in_the_file_counts(tmp_path):
    text = """
controller: {ros__parameters: {limits: {speed: 1.0, turn: 1.0}, only: 1}}
/**: {ros__parameters: {limits: {speed: 2.0}}}
/cell/left/controller: {ros__parameters: {limits: {turn: 3.0}}}
"""
    found = written(tmp_path, text)
    assert set(found) == {f"/cell/left/{node}" for node in NODES}
    assert found["/cell/left/controller"]["ros__parameters"] == {"limits": {"speed": 2.0, "turn": 3.0}, "only": 1}
    assert found["/cell/left/policy"]["ros__parameters"] == {"limits": {"speed": 2.0}}


@pytest.mark.parametrize("value", [".nan", "-.inf", ""])
def test_a_value_that_no_parameter_takes_is_refused_in_a_namespace(tmp_path, value):
    with pytest.raises(ConfigError, match="a value that no parameter takes"):
        written(tmp_path, f"controller:\n  ros__parameters:\n    limit: {value}\n")


@given(
    st.dictionaries(
        st.text("abcdefg_", min_size=1, max_size=5),
        st.one_of(
            st.booleans(),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8),
            st.lists(st.floats(-1e300, 1e300), max_size=3),
        ),
        min_size=1,
    )
)
def test_values_are_the_same_in_a_namespace(values):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "place.yaml")
        path.write_text(json.dumps({"controller": {"ros__parameters": values}}, ensure_ascii=False), encoding="utf-8")
        out = Path(folder, "written")
        out.mkdir()
        found = read_yaml(write_for_namespace(path, "/left", out))
    again = found["/left/controller"]["ros__parameters"]
    assert again == values and [type(item) for item in again.values()] == [type(item) for item in values.values()]


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
