"""A robot's file: what is shipped loads, and what is wrong is named."""

from __future__ import annotations

import pytest
import yaml

from magma_contracts.errors import ConfigError
from magma_control.config import ControllerConfig
from magma_control.robots.robot_config import DescriptionSection, RobotConfig, load_robot, shipped_robots
from magma_control.robots.robot_description import description_from_text, read_description, topic_of

MINIMAL = {"joints": {"names": ["a", "b"], "home": [0.0, 0.1]}}


@pytest.mark.parametrize("name", shipped_robots())
def test_the_shipped_robots_load(name):
    robot = load_robot(name)
    assert robot.name == name
    assert len(robot.per_joint("max_jerk")) == len(robot.joints.names)


def test_the_panda_and_the_widowx_are_shipped():
    assert {"panda", "wx250s"} <= set(shipped_robots())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limits": {}}, "unknown section limits; a robot has name, description"),
        ({"joints": {**MINIMAL["joints"], "max_speed": [1.0]}}, "section joints: unknown parameter max_speed"),
        ({"joints": {"names": ["a", "b"], "home": [0.0]}}, "home has 1 values for 2 joints"),
        ({"joints": {"names": ["a", "a"], "home": [0.0, 0.0]}}, "lists a joint twice"),
        ({"joints": {**MINIMAL["joints"], "max_velocity": [1.0, 1.0, 1.0]}}, "max_velocity has 3 values for 2 joints"),
        ({"joints": {**MINIMAL["joints"], "max_velocity": [0.0]}}, "max_velocity"),
        ({"joints": {}}, "joints.names must list"),
        ({"joints": 3}, "section joints is a mapping"),
        ({"cartesian": {"max_speed_m_s": float("nan")}}, "max_speed_m_s"),
        ({"gripper": {"driver": "magnet"}}, "gripper: parameter driver"),
        ({"gripper": {"open": 0.0, "closed": 0.0}}, "both 0.0"),
        ({"collision": {"ignored_pairs": ["a"]}}, "is not two link names"),
        ({"name": 3}, "name must be a text"),
    ],
)
def test_what_is_wrong_is_named(changes, message, tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, **changes}))
    with pytest.raises(ConfigError, match=message) as raised:
        load_robot(str(path))
    assert str(path) in str(raised.value)


def test_other_ways_to_fail(tmp_path):
    with pytest.raises(ConfigError, match="give a YAML file, or one of panda, wx250s"):
        load_robot("r2d2")
    (tmp_path / "robot.yaml").write_text("joints: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_robot(str(tmp_path / "robot.yaml"))
    (tmp_path / "robot.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="a mapping of sections"):
        load_robot(str(tmp_path / "robot.yaml"))


def test_one_value_holds_for_all_joints():
    robot = RobotConfig.from_mapping({**MINIMAL, "joints": {**MINIMAL["joints"], "max_jerk": [7.0]}})
    assert robot.per_joint("max_jerk") == (7.0, 7.0)


def test_where_a_description_comes_from(tmp_path):
    assert topic_of(DescriptionSection()) == "robot_description"
    assert topic_of(DescriptionSection(source="topic:///robot_description")) == "/robot_description"
    path = tmp_path / "arm.urdf"
    path.write_text("<robot name='arm'/>")
    description = read_description(DescriptionSection(source=str(path), package_dirs=("/meshes",)))
    assert description.urdf.startswith("<robot") and description.package_dirs == ("/meshes", str(tmp_path))
    for source, message in (
        ("module://no_such_package/arm.urdf", "'no_such_package' is not installed"),
        (str(tmp_path / "other.urdf"), "there is no file"),
        ("topic:///robot_description", "is a topic"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_description(DescriptionSection(source=source))
    with pytest.raises(ConfigError, match="is no URDF"):
        description_from_text("hello", DescriptionSection())


def test_an_arm_and_its_robot_belong_together():
    with pytest.raises(ConfigError, match="needs a robot"):
        ControllerConfig(arm="joint_trajectory")
    with pytest.raises(ConfigError, match="needs a robot"):
        ControllerConfig(robot="panda")
    with pytest.raises(ConfigError, match="leaves no room"):
        ControllerConfig(table_height_m=1.0)
    with pytest.raises(ConfigError, match="gripper_close_below"):
        ControllerConfig(gripper_close_below=0.9)
    assert ControllerConfig(table_height_m=0.1, table_clearance_m=0.05).lowest_corner_m[2] == pytest.approx(0.15)


@pytest.mark.parametrize(("robot", "grip"), [("panda", "/left/gripper_controller/gripper_cmd"), ("wx250s", "gripper")])
def test_names_are_relative_until_the_graph_says_where_they_lie(robot, grip):
    told = load_robot(robot)
    names = (told.driver.joint_states, told.driver.name, told.description.source.removeprefix("topic://"))
    assert not any(name.startswith("/") for name in names)
    there = told.in_graph(lambda name: name if name.startswith("/") else f"/left/{name}")
    assert there.driver.joint_states.startswith("/left/") and there.gripper.name == grip
    assert there.driver.name == (f"/left/{told.driver.name}" if told.driver.name else "")
    assert there.in_graph(lambda name: name if name.startswith("/") else "wrong") == there
