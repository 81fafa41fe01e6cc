"""One robot, one YAML file: description, frames, joints, limits, home, gripper and driver, validated when it is loaded.

Every section is a frozen dataclass; an unknown key, a value out of range or a list of the wrong length is a
`ConfigError` that names the file, the section and what is allowed.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.yaml_files import read_yaml
from magma_contracts.errors import ConfigError
from magma_contracts.files.digests import content_hash
from magma_contracts.text import brief, listed


@dataclass(frozen=True)
class DescriptionSection(NodeConfig):
    """Where the URDF comes from."""

    source: str = parameter(
        "topic://robot_description",
        "topic://NAME (std_msgs/String, latched), a file, or module://PACKAGE/PATH for a file in an installed Python "
        "package.",
    )
    package_dirs: tuple[str, ...] = parameter((), "Folders in which package:// names and relative meshes are found.")


@dataclass(frozen=True)
class FramesSection(NodeConfig):
    """Names of links in the URDF."""

    base: str = parameter("base_link", "Link that is the frame `base` of every pose and delta.")
    tool: str = parameter("tool0", "Link that is the end effector: the point between the finger tips.")


@dataclass(frozen=True)
class JointsSection(NodeConfig):
    """The arm's joints in the order of the driver, and how fast each may go. Lists of one value hold for all joints."""

    names: tuple[str, ...] = parameter((), "Names as in the URDF and in the joint states.")
    home: tuple[float, ...] = parameter((), "A comfortable posture, which inverse kinematics prefers, rad.")
    position_margin: float = parameter(
        0.05, "Distance kept from each end of a joint's range, rad.", minimum=0.0, maximum=0.5
    )
    max_velocity: tuple[float, ...] = parameter(
        (1.0,), "rad/s; the URDF's own limit holds too.", minimum=1e-3, maximum=20.0
    )
    max_acceleration: tuple[float, ...] = parameter((5.0,), "rad/s^2.", minimum=1e-2, maximum=200.0)
    max_jerk: tuple[float, ...] = parameter((100.0,), "rad/s^3.", minimum=1.0, maximum=20000.0)
    unreported: tuple[str, ...] = parameter(
        (), "Other joints of the URDF that nobody reports, and where they stand, each as 'name position' (rad or m)."
    )


@dataclass(frozen=True)
class CartesianSection(NodeConfig):
    """Limits of the motion of the end effector; each is the length of a vector."""

    max_speed_m_s: float = parameter(0.5, "m/s.", minimum=1e-3, maximum=5.0)
    max_acceleration_m_s2: float = parameter(3.0, "m/s^2.", minimum=1e-2, maximum=50.0)
    max_jerk_m_s3: float = parameter(60.0, "m/s^3.", minimum=0.1, maximum=10000.0)
    max_angular_speed_rad_s: float = parameter(2.0, "rad/s.", minimum=1e-3, maximum=20.0)
    max_angular_acceleration_rad_s2: float = parameter(12.0, "rad/s^2.", minimum=1e-2, maximum=200.0)
    max_angular_jerk_rad_s3: float = parameter(240.0, "rad/s^3.", minimum=0.1, maximum=50000.0)
    arrival_fraction: float = parameter(
        0.9,
        "Part of a step period over which a step is travelled; the rest lets the arm settle.",
        minimum=0.2,
        maximum=1.0,
    )


@dataclass(frozen=True)
class InverseKinematicsSection(NodeConfig):
    """How joint velocities are found from a motion of the end effector."""

    orientation_cost: float = parameter(0.5, "Weight of a radian against a metre.", minimum=0.01, maximum=10.0)
    posture_cost: float = parameter(1e-3, "Pull towards `home` in the null space.", minimum=0.0, maximum=0.1)
    damping_below: float = parameter(
        0.06, "Smallest singular value of the Jacobian below which motion is damped.", minimum=1e-3, maximum=0.5
    )
    max_damping: float = parameter(0.08, "Damping in the singularity itself.", minimum=1e-3, maximum=1.0)
    max_position_error_m: float = parameter(
        0.01,
        "Beyond this deviation from the path the motion is given up; at a third of it the path waits.",
        minimum=1e-4,
        maximum=0.1,
    )
    max_rotation_error_rad: float = parameter(
        0.1,
        "Beyond this deviation from the path the motion is given up; at a third of it the path waits.",
        minimum=1e-3,
        maximum=1.0,
    )


@dataclass(frozen=True)
class CollisionSection(NodeConfig):
    """Self-collision and table check with the URDF's collision geometry. Meshes are checked as their convex hulls."""

    enabled: bool = parameter(True, "False only for a URDF whose geometry is unusable.")
    margin_m: float = parameter(0.005, "Distance kept between two parts.", minimum=0.0, maximum=0.1)
    ignored_pairs: tuple[str, ...] = parameter((), "Pairs of links that are never checked, as 'link_a link_b'.")
    links_above_table: tuple[str, ...] = parameter(
        (), "Links that must stay above the table; not those that grasp from it."
    )


@dataclass(frozen=True)
class FollowingSection(NodeConfig):
    """What is believed of the arm's own reports."""

    resync_tolerance: float = parameter(
        0.03,
        "A resting arm that is found farther away from where it was left is taken as it is, rad.",
        minimum=1e-4,
        maximum=0.5,
    )
    lag_tolerance: float = parameter(
        0.35,
        "A moving arm that is farther than this from all its recent commands does not follow, rad: fault.",
        minimum=1e-2,
        maximum=2.0,
    )
    window_s: float = parameter(
        0.5,
        "The arm may be where it was told to be within this time before: drivers and reports are late.",
        minimum=0.02,
        maximum=5.0,
    )
    still_tolerance: float = parameter(
        0.005,
        "Reports of a resting arm differ by no more, rad. A motion begins only where five of them over 50 ms agree.",
        minimum=1e-4,
        maximum=0.1,
    )
    jump_tolerance: float = parameter(
        0.15,
        "Between two reports a joint may move this much more than its speed limit allows, rad.",
        minimum=1e-3,
        maximum=2.0,
    )


GRIPPER_DRIVERS = ("none", "gripper_command", "parallel_gripper_command", "position", "interbotix")


@dataclass(frozen=True)
class GripperSection(NodeConfig):
    """The gripper: an opening 0 closed ... 1 open becomes a position of one joint."""

    driver: str = parameter("none", "How it is commanded.", choices=GRIPPER_DRIVERS)
    joint: str = parameter("", "Joint whose position tells the opening; empty: the commanded opening is reported.")
    closed: float = parameter(0.0, "Position of the joint when closed, m or rad.", minimum=-10.0, maximum=10.0)
    open: float = parameter(0.04, "Position of the joint when open, m or rad.", minimum=-10.0, maximum=10.0)
    closed_target: float = parameter(
        0.0, "Position to command for closed; beyond `closed` to press on what is held.", minimum=-10.0, maximum=10.0
    )
    max_effort: float = parameter(20.0, "Highest effort to command, N or Nm.", minimum=0.0, maximum=1000.0)
    name: str = parameter("gripper_controller/gripper_cmd", "Action or topic.")


ARM_DRIVERS = ("joint_trajectory", "follow_joint_trajectory", "position", "servo", "interbotix")


@dataclass(frozen=True)
class DriverSection(NodeConfig):
    """Names under which the arm is reached."""

    joint_states: str = parameter("joint_states", "Topic of the arm's reports.")
    name: str = parameter("", "Topic or action of the arm driver; empty: the usual one of that driver.")
    group: str = parameter("arm", "interbotix: name of the joint group.")
    servo_input: str = parameter("twist", "servo: what is sent.", choices=("twist", "pose"))


@dataclass(frozen=True)
class RobotConfig:
    """Everything about one robot."""

    name: str
    description: DescriptionSection
    frames: FramesSection
    joints: JointsSection
    cartesian: CartesianSection
    ik: InverseKinematicsSection
    collision: CollisionSection
    following: FollowingSection
    gripper: GripperSection
    driver: DriverSection

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or len(self.name) > 100:
            raise ConfigError(f"name must be a printable text of at most 100 characters, got {brief(self.name)}")
        joints = self.joints
        if not joints.names:
            raise ConfigError("joints.names must list the arm's joints")
        if len(set(joints.names)) != len(joints.names):
            raise ConfigError(f"joints.names lists a joint twice: {listed(joints.names)}")
        count = len(joints.names)
        if len(joints.home) != count:
            raise ConfigError(f"joints.home has {len(joints.home)} values for {count} joints")
        for name in ("max_velocity", "max_acceleration", "max_jerk"):
            length = len(getattr(joints, name))
            if length not in (1, count):
                raise ConfigError(f"joints.{name} has {length} values for {count} joints; give one, or one per joint")
        for item in joints.unreported:
            words = item.split()
            if len(words) != 2 or not _is_number(words[1]):
                raise ConfigError(f"joints.unreported: {item!r} is not a joint's name and its position")
        gripper = self.gripper
        if gripper.open == gripper.closed:
            raise ConfigError(f"gripper.open and gripper.closed are both {gripper.open}")
        for pair in self.collision.ignored_pairs:
            if len(pair.split()) != 2:
                raise ConfigError(f"collision.ignored_pairs: {brief(pair)} is not two link names with a space between")

    @property
    def identity(self) -> str:
        """Names the configuration by its content: equal for equal values, whatever file they stand in."""
        return content_hash(repr(self))

    def in_graph(self, expand: Callable[[str], str]) -> RobotConfig:
        """The same with full names of topics and actions, for texts too.

        Args:
            expand: a relative name to the full one, as a node in some namespace does.
        """
        driver, gripper = self.driver, self.gripper
        full = dataclasses.replace(
            driver,
            joint_states=expand(driver.joint_states),
            name=expand(driver.name) if driver.name else "",
        )
        # xs_sdk names its gripper by a word, within the robot's own topics.
        grips = gripper if gripper.driver == "interbotix" else dataclasses.replace(gripper, name=expand(gripper.name))
        return dataclasses.replace(self, driver=full, gripper=grips)

    def per_joint(self, name: str) -> tuple[float, ...]:
        """A limit of the section `joints`, one value per joint."""
        values: tuple[float, ...] = getattr(self.joints, name)
        return values * len(self.joints.names) if len(values) == 1 else values

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RobotConfig:
        """Builds it from nested mappings, as read from YAML; sections that are left out take their defaults.

        Raises:
            ConfigError: unknown section or key, or a value that is not allowed.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"a robot's configuration is a mapping of sections, not {type(values).__name__}")
        types = typing.get_type_hints(cls)
        known = [item.name for item in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known), key=str)
        if unknown:
            raise ConfigError(f"unknown section {listed(unknown)}; a robot has {', '.join(known)}")
        sections: dict[str, Any] = {}
        for section in known[1:]:
            content = values.get(section, {})
            if not isinstance(content, Mapping):
                raise ConfigError(f"section {section} is a mapping, not {brief(content)}")
            plain = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
            try:
                sections[section] = types[section].from_mapping(plain)
            except ConfigError as error:
                raise ConfigError(f"section {section}: {error}") from None
        name = values.get("name", "robot")
        if not isinstance(name, str):
            raise ConfigError(f"name must be a text, not {brief(name)}")
        return cls(name=name, **sections)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


_ROBOTS = "magma_control.robots"


def shipped_robots() -> list[str]:
    """Names of the robots whose files come with this package."""
    files = (item.name for item in resources.files(_ROBOTS).iterdir())
    return sorted(name[: -len(".yaml")] for name in files if name.endswith(".yaml"))


def load_robot(name_or_path: str) -> RobotConfig:
    """Reads a robot's YAML file.

    Args:
        name_or_path: one of `shipped_robots()`, or a file.

    Raises:
        ConfigError: no such robot, not YAML, or not a valid configuration; the text names the file.
    """
    if name_or_path in shipped_robots():
        file = resources.files(_ROBOTS) / f"{name_or_path}.yaml"
    else:
        file = Path(name_or_path).expanduser()
        if not file.is_file():
            raise ConfigError(f"no robot {name_or_path!r}: give a YAML file, or one of {', '.join(shipped_robots())}")
    try:
        with resources.as_file(file) as path:
            return RobotConfig.from_mapping(read_yaml(path) or {})
    except ConfigError as error:
        raise ConfigError(f"robot {name_or_path}: {error}") from None
