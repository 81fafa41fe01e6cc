"""What describes a robot and what drives it: robot YAML, URDF, profiles of operator devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from file_mutations import Reading, Target, digest
from mutation_edits import bytes_edits, line_edits, xml_edits, yaml_edits

from magma_contracts.errors import ConfigError
from magma_control.motion.kinematics import Kinematics
from magma_control.robots.robot_config import RobotConfig, load_robot
from magma_control.robots.robot_description import description_from_text
from magma_teleop.device_profile import read_profile

ROBOT = """\
# Two joints, so that every mutant is quick.
name: short
description: {source: "topic:///robot_description"}
frames: {base: base, tool: hand}
joints:
  names: [shoulder, elbow]
  home: [0.0, 0.5]
  max_velocity: [1.0, 1.5]
  position_margin: 0.05
cartesian: {max_speed_m_s: 0.5}
collision: {margin_m: 0.005, links_above_table: [forearm]}
following: {lag_tolerance: 0.35}
gripper: {driver: none, closed: 0.0, open: 0.04}
driver: {joint_states: /joint_states}
"""
URDF = """\
<?xml version="1.0"?>
<robot name="short">
  <link name="base"><collision><geometry><box size="0.1 0.1 0.1"/></geometry></collision></link>
  <link name="upper_arm"/>
  <link name="forearm">
    <inertial><mass value="1.0"/><inertia ixx="0.1" ixy="0" ixz="0" iyy="0.1" iyz="0" izz="0.1"/></inertial>
    <collision>
      <origin xyz="0.1 0 0" rpy="0 0 0"/><geometry><cylinder radius="0.03" length="0.2"/></geometry>
    </collision>
  </link>
  <link name="hand"/>
  <joint name="shoulder" type="revolute">
    <parent link="base"/><child link="upper_arm"/><origin xyz="0 0 0.3" rpy="0 0 0"/><axis xyz="0 0 1"/>
    <limit lower="-2" upper="2" effort="10" velocity="2"/>
  </joint>
  <joint name="elbow" type="revolute">
    <parent link="upper_arm"/><child link="forearm"/><origin xyz="0.3 0 0" rpy="0 0.1 0"/><axis xyz="0 1 0"/>
    <limit lower="-1.5" upper="1.5" effort="10" velocity="2"/>
  </joint>
  <joint name="wrist" type="fixed"><parent link="forearm"/><child link="hand"/><origin xyz="0.3 0 0"/></joint>
</robot>
"""
PROFILE = """\
kind: joy
name: pad
activation: dead_man
axes:
  x: {axis: 1, scale: 1.0}
  y: {axis: 0}
  z: [{button: 4}, {button: 5, scale: -1.0}]
buttons: {dead_man: 7, slow: 6, gripper: 0, estop: 1, rearm: 3}
frame: base
max_speed_m_s: 0.1
"""
TEXT_EDITS = (bytes_edits, line_edits, yaml_edits)
POSTURE = np.array([0.1, 0.2])


def _write(name: str, text: str):
    def seed(folder: Path) -> Path:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        return path

    return seed


def _read_robot(path: Path) -> Reading:
    robot = load_robot(str(path))
    return Reading(robot, robot.identity)


def _read_urdf(path: Path) -> Reading:
    robot = RobotConfig.from_mapping(
        {
            "name": "short",
            "frames": {"base": "base", "tool": "hand"},
            "joints": {"names": ["shoulder", "elbow"], "home": [0.0, 0.5]},
            "collision": {"links_above_table": ["forearm"]},
        }
    )
    # As a real arm's arrives: the text of a message.
    description = description_from_text(path.read_text(encoding="utf-8", errors="replace"), robot.description)
    arm = Kinematics(robot, description, 0.0)
    position, rotation = arm.forward(POSTURE)
    numbers = np.concatenate([arm.lower, arm.upper, arm.max_velocity, position, rotation.ravel()])
    if not np.isfinite(numbers).all():
        raise AssertionError(f"numbers that are not finite reach the controller: {numbers}")
    jacobian, contacts = arm.jacobian(POSTURE), arm.contacts(POSTURE)
    return Reading((digest(numbers.tobytes(), jacobian.tobytes()), sorted(contacts)), description.identity)


def _read_profile(path: Path) -> Reading:
    profile = read_profile(path)
    return Reading(profile, profile.identity)


TARGETS = [
    Target("robot-yaml", _write("robot.yaml", ROBOT), _read_robot, (ConfigError,), TEXT_EDITS),
    Target("urdf", _write("robot.urdf", URDF), _read_urdf, (ConfigError,), (bytes_edits, line_edits, xml_edits)),
    Target("teleop-profile", _write("pad.yaml", PROFILE), _read_profile, (ConfigError,), TEXT_EDITS),
]
