"""Finds what is known of the robot's joints in reports that name them in any order, in one message or more. No ROS."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from magma_control.robots.robot_config import RobotConfig
from magma_control.safety import Refusal

TOGETHER_S = 0.2
"""Reports of an arm in several messages: those of one round come within this time."""


@dataclass(frozen=True)
class JointReading:
    """What the robot reports about itself."""

    positions: NDArray[np.float64]
    """(n,) rad, in the order of `joints.names`"""
    opening: float | None
    """0 closed ... 1 open; None when it is not known"""
    stamp_ns: int = 0
    """of the oldest report of the arm's joints that is in it"""
    others: Mapping[str, float] | None = None
    """positions of the robot's other joints that are known, rad or m"""


class _Known(NamedTuple):
    position: float
    steady_s: float
    stamp_ns: int


class JointStateReader:
    """Reads sensor_msgs/JointState by names, and keeps what each joint said last.

    A message about other devices' joints says nothing here, whatever is wrong with it. What was never reported, or not
    for too long, is unknown.
    """

    def __init__(self, robot: RobotConfig, others: Sequence[str] = ()) -> None:
        """
        Args:
            others: joints of the robot, beside the arm's and the gripper's, that are listened to.
        """
        self._names = robot.joints.names
        self._gripper = robot.gripper
        self._arm = frozenset(self._names)
        self._beside = frozenset(others) | ({robot.gripper.joint} if robot.gripper.joint else set())
        self._known: dict[str, _Known] = {}
        self._awaited = set(self._arm)

    def forget(self) -> None:
        """What was reported so far is unknown again."""
        self._known.clear()
        self._awaited = set(self._arm)

    def read(
        self,
        names: Sequence[str],
        positions: Sequence[float],
        stamp_ns: int = 0,
        steady_s: float = 0.0,
        longest_age_s: float = 1.0,
    ) -> JointReading | Refusal | None:
        """Takes a message.

        Args:
            stamp_ns: when it was made.
            steady_s: when it came.
            longest_age_s: what a joint beside the arm's said longer ago is unknown.

        Returns:
            The reading, once each of the arm's joints has been reported since the last one; None when it is not yet
            complete or the message is not about the arm.
        """
        arm = self._arm
        of_arm = [name for name in names if name in arm]
        if not of_arm and not any(name in self._beside for name in names):
            return None
        if len(positions) == 0:
            # Velocities or efforts only.
            return None
        if len(names) != len(positions):
            if not of_arm:
                return None
            return _senseless(f"joint state names {len(names)} joints, with {len(positions)} positions")
        if len(set(of_arm)) < len(of_arm):
            twice = [name for name in of_arm if of_arm.count(name) > 1]
            values = [position for name, position in zip(names, positions, strict=True) if name == twice[0]]
            return Refusal(
                "joint named twice", f"joint state names {twice[0]} twice, at {values}: which one is it?", True
            )
        if any(not math.isfinite(position) and name in arm for name, position in zip(names, positions, strict=True)):
            return _senseless(f"joint positions are {[float(position) for position in positions]}")
        self._remember(names, positions, stamp_ns, steady_s)
        if not of_arm:
            return None
        if len(of_arm) < len(arm):
            self._awaited.difference_update(of_arm)
            if self._awaited:
                silent = [name for name in self._awaited if self._is_old(name, steady_s)]
                return _incomplete(silent) if silent else None
            silent = [name for name in self._names if self._is_old(name, steady_s)]
            if silent:
                self._awaited = set(silent)
                return _incomplete(silent)
        self._awaited = set(arm)
        return self._reading(steady_s, longest_age_s)

    def _remember(self, names: Sequence[str], positions: Sequence[float], stamp_ns: int, steady_s: float) -> None:
        arm, beside, known = self._arm, self._beside, self._known
        for name, position in zip(names, positions, strict=True):
            if name in arm:
                known[name] = _Known(position, steady_s, stamp_ns)
            elif name in beside:
                if names.count(name) > 1 or not math.isfinite(position):
                    known.pop(name, None)
                else:
                    known[name] = _Known(float(position), steady_s, stamp_ns)

    def _is_old(self, name: str, steady_s: float) -> bool:
        known = self._known.get(name)
        return known is None or steady_s - known.steady_s > TOGETHER_S

    def _reading(self, steady_s: float, longest_age_s: float) -> JointReading:
        arm = [self._known[name] for name in self._names]
        others = {}
        for name in self._beside:
            known = self._known.get(name)
            if known is not None and steady_s - known.steady_s <= longest_age_s:
                others[name] = known.position
        opening = None
        gripper = self._gripper
        if gripper.joint in others:
            share = (others[gripper.joint] - gripper.closed) / (gripper.open - gripper.closed)
            opening = float(np.clip(share, 0.0, 1.0))
        positions = np.array([known.position for known in arm], dtype=np.float64)
        return JointReading(positions, opening, min(known.stamp_ns for known in arm), others)


def _incomplete(silent: Sequence[str]) -> Refusal:
    return Refusal("joint state incomplete", f"joint state lacks {', '.join(sorted(silent))}")


def _senseless(text: str) -> Refusal:
    return Refusal("joint state makes no sense", text, True)
