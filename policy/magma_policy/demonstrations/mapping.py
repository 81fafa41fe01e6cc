"""The mapping file of a robot: which columns of its LeRobot datasets are what, and in which convention.

    robot_type: so101_follower              # the sets that this is for, by robot_type of their meta/info.json
    robot: so101                            # what the checkpoint calls arm and camera set-up
    camera: observation.images.front        # which picture
    fps: 5                                  # of the steps that are learned; the set's own or less
    state:
      space: end_effector                   # end_effector, or joints
      position: observation.state[0:3]
      rotation: observation.state[3:6]
      rotation_form: euler_xyz              # or axis_angle, quaternion_xyzw, quaternion_wxyz, rotation_6d, matrix
      gripper: observation.state[6]
      gripper_closed: 1.0                   # the number when it is closed, and when it is open
      gripper_open: 0.0
    action:
      space: end_effector
      kind: absolute                        # absolute poses, or delta
      position: action[0:3]
      ...                                   # as in state

Everything is asked for and nothing guessed: a wrong sign of the gripper or order of a quaternion costs all success, and
nobody sees why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from magma_contracts.errors import ConfigError
from magma_contracts.files.typed_tables import from_dict, naming
from magma_contracts.geometry.pose_conventions import Action, State, check_answered
from magma_contracts.geometry.rotation_forms import FORMS
from magma_contracts.text import printable
from magma_policy.embodiments import robots
from magma_policy.files.yaml_files import read_yaml

LARGEST = 1 << 20


@dataclass(frozen=True)
class Kinematics:
    """How joints become poses: a chain of a URDF, `joints` the names of the numbers in their order."""

    urdf: str
    base: str
    tip: str
    joints: tuple[str, ...]


@dataclass(frozen=True)
class Calibration:
    """The camera: pixels of the pictures that are learned from (`image_size`), base -> camera_optical, m. As in the
    card."""

    intrinsics: tuple[tuple[float, ...], ...]
    extrinsics_base_to_optical: tuple[tuple[float, ...], ...]
    table_height_m: float


@dataclass(frozen=True)
class Mapping:
    """A mapping file; the module's text has an example."""

    robot_type: str
    robot: str
    camera: str
    fps: float
    state: State
    action: Action
    image_size: tuple[int, int] | None = None
    """height and width, px, to which pictures are shrunk; None = as they are stored"""
    kinematics: Kinematics | None = None
    calibration: Calibration | None = None
    """without it a model with geometry cannot be trained"""

    @classmethod
    def read(cls, path: Path) -> Mapping:
        """ConfigError names the file, the entry and what it may be."""
        data = read_yaml(path, LARGEST)
        with naming(path):
            check_answered(data, "")
            made = from_dict(cls, _text_keys(data))
            made.check()
        if made.kinematics is not None and not Path(made.kinematics.urdf).is_absolute():
            urdf = str(path.parent / made.kinematics.urdf)
            made = replace(made, kinematics=replace(made.kinematics, urdf=urdf))
        return made

    def check(self) -> None:
        """ConfigError where something does not fit together."""
        robots.check_name(self.robot)
        if not 0.01 <= self.fps <= 1000:
            raise ConfigError(f"fps must be from 0.01 to 1000, got {self.fps:g}")
        if self.image_size is not None and not all(1 <= side <= 8192 for side in self.image_size):
            raise ConfigError(f"image_size must be [height, width] in pixels, got {list(self.image_size)}")
        self.state.check("state")
        self.action.check("action")
        if "joints" in (self.state.space, self.action.space) and self.kinematics is None:
            raise ConfigError("joints become poses by a URDF: give kinematics with urdf, base, tip and joints")


def template(robot_type: str, fps: float, features: dict[str, str], cameras: tuple[str, ...]) -> str:
    """A mapping file to fill in, for a set whose features are described by `features`."""
    lines = [
        "# Fill in what is '?'. The features of the set:",
        *(f"#   {printable(name)}: {printable(text)}" for name, text in features.items()),
        f"robot_type: {yaml.safe_dump(robot_type, default_style=chr(34)).strip()}",
        "robot: '?'                     # what the checkpoint shall call arm and camera set-up",
        f"camera: '?'                    # {' or '.join(map(printable, cameras)) or 'the set has none'}",
        f"fps: {fps:g}                        # of the steps that are learned; {fps:g} or less",
        "state:",
        *_pose_lines(),
        "action:",
        "  kind: '?'                    # absolute or delta",
        *_pose_lines(),
        "# kinematics: {urdf: arm.urdf, base: base_link, tip: tool, joints: [j1, j2]}    # with space: joints",
        "# calibration: {intrinsics: …, extrinsics_base_to_optical: …, table_height_m: 0.0}",
        "",
    ]
    return "\n".join(lines)


def _pose_lines() -> list[str]:
    return [
        "  space: '?'                   # end_effector or joints",
        "  position: '?'                # with end_effector: FEATURE[0:3]",
        "  rotation: '?'                # with end_effector: FEATURE[3:6]",
        f"  rotation_form: '?'           # {', '.join(FORMS)}",
        "  # joints: FEATURE[0:6]       # with joints, in place of the three above; joint_unit: rad or deg",
        "  gripper: '?'                 # FEATURE[6]",
        "  gripper_closed: '?'          # the number when it is closed",
        "  gripper_open: '?'            # and when it is open",
    ]


def _text_keys(value: Any) -> Any:
    """YAML's keys may be anything."""
    return {str(key): _text_keys(inner) for key, inner in value.items()} if isinstance(value, dict) else value
