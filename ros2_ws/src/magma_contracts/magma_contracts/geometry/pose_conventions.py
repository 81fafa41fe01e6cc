"""Poses and actions as others code them: which numbers are what, and in which convention.

The words are the same in the mapping file of a robot's datasets and in the model file of a policy behind somebody
else's server. Numbers are named FEATURE[i], FEATURE[i:j], or FEATURE for all that it has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from magma_contracts.errors import ConfigError
from magma_contracts.geometry.rotation_forms import FORMS
from magma_contracts.text import brief, printable

OPEN_QUESTION = "?"
"""Stands in a mapping file where somebody has to fill something in."""
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
ANGLES = {"rad": 1.0, "deg": 0.017453292519943295}

_COLUMNS = re.compile(r"(?P<name>[^\[\]]+?)(\[(?P<from>\d{1,4})(:(?P<to>\d{1,4}))?\])?")


@dataclass(frozen=True)
class Columns:
    """Numbers of a feature: from `begin` up to `end`, which is None where all are meant."""

    feature: str
    begin: int
    end: int | None

    @classmethod
    def parse(cls, text: str) -> Columns | None:
        """What FEATURE, FEATURE[i] or FEATURE[i:j] names; None where it is none of these."""
        match = _COLUMNS.fullmatch(text)
        if match is None:
            return None
        if match["from"] is None:
            return cls(match["name"], 0, None)
        begin = int(match["from"])
        end = int(match["to"]) if match["to"] else begin + 1
        return cls(match["name"], begin, end) if begin < end else None


@dataclass(frozen=True)
class Pose:
    """Where the end effector is or shall be. Columns are FEATURE[i], FEATURE[i:j], or FEATURE for all of its
    numbers."""

    space: str
    """end_effector, or joints"""
    gripper: str
    gripper_closed: float
    gripper_open: float
    """the number when the gripper is closed, and when it is open"""
    position: str = ""
    position_unit: str = "m"
    rotation: str = ""
    rotation_form: str = ""
    joints: str = ""
    joint_unit: str = "rad"

    def check(self, where: str) -> None:
        """ConfigError where something is missing or not known."""
        if self.space not in ("end_effector", "joints"):
            raise ConfigError(f"{where}.space is {brief(self.space)}, must be end_effector or joints")
        needed = ("position", "rotation", "rotation_form") if self.space == "end_effector" else ("joints",)
        for name in (*needed, "gripper"):
            if not getattr(self, name):
                raise ConfigError(f"{where}.{name} is missing; with space {self.space} it is needed")
        other = ("joints",) if self.space == "end_effector" else ("position", "rotation", "rotation_form")
        for name in other:
            if getattr(self, name):
                raise ConfigError(f"{where}.{name} does not go with space {self.space}; leave one out")
        for name, known in (("rotation_form", FORMS), ("position_unit", UNITS), ("joint_unit", ANGLES)):
            if getattr(self, name) and getattr(self, name) not in known:
                raise ConfigError(f"{where}.{name} is {brief(getattr(self, name))}, must be one of {', '.join(known)}")
        if self.gripper_closed == self.gripper_open:
            raise ConfigError(f"{where}: gripper_closed and gripper_open are both {self.gripper_open:g}")


@dataclass(frozen=True)
class State(Pose):
    """Where the end effector is, and where it was last told to go."""

    target_position: str = ""
    target_rotation: str = ""
    target_gripper: str = ""
    """columns of the pose that it was last told, in the units and forms of the measured one; left out: the action
    before, and at the first step where it stands"""

    def check(self, where: str) -> None:
        super().check(where)
        given = [bool(value) for value in (self.target_position, self.target_rotation, self.target_gripper)]
        if any(given) and (not all(given) or self.space != "end_effector"):
            raise ConfigError(
                f"{where}: target_position, target_rotation and target_gripper go together, with end_effector"
            )


@dataclass(frozen=True)
class Action(Pose):
    """What the arm was told."""

    kind: str = OPEN_QUESTION
    """absolute: where to go; delta: how far from where it was last told to go"""
    frame: str = "base"
    """of deltas: base, or tool"""

    def check(self, where: str) -> None:
        super().check(where)
        if self.kind not in ("absolute", "delta"):
            raise ConfigError(f"{where}.kind is {brief(self.kind)}, must be absolute or delta")
        if self.frame not in ("base", "tool"):
            raise ConfigError(f"{where}.frame is {brief(self.frame)}, must be base or tool")
        if self.kind == "delta" and self.space == "joints":
            raise ConfigError(f"{where}: deltas of joints are not read; give the column of absolute joints")


def check_answered(value: Any, where: str = "") -> None:
    """ConfigError for the first entry of a parsed file that nobody has filled in."""
    if value == OPEN_QUESTION:
        raise ConfigError(f"{where.lstrip('.')} is still '?'; fill it in")
    if isinstance(value, dict):
        for key, inner in value.items():
            check_answered(inner, f"{where}.{printable(key, 60)}")
