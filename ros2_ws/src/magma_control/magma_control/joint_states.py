"""Finds the arm's joints and the gripper's opening in reports that name joints in any order. No ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_control.robot_config import RobotConfig
from magma_control.safety import Refusal


@dataclass(frozen=True)
class JointReading:
    """What the arm reports about itself."""

    positions: NDArray[np.float64]
    """(n,) rad, in the order of `joints.names`"""
    opening: float | None
    """0 closed ... 1 open; None when the report does not name the gripper's joint"""


class JointStateReader:
    """Reads sensor_msgs/JointState by names."""

    def __init__(self, robot: RobotConfig) -> None:
        self._names = robot.joints.names
        self._gripper = robot.gripper

    def read(self, names: Sequence[str], positions: Sequence[float]) -> JointReading | Refusal | None:
        """The reading; None when the report is about other joints only (some robots report in parts)."""
        if len(names) != len(positions):
            return Refusal(
                "joint state makes no sense",
                f"joint state names {len(names)} joints, with {len(positions)} positions",
                True,
            )
        place = {name: index for index, name in enumerate(names)}
        missing = [name for name in self._names if name not in place]
        if len(missing) == len(self._names):
            return None
        if missing:
            return Refusal("joint state incomplete", f"joint state lacks {', '.join(missing)}")
        values = np.array([positions[place[name]] for name in self._names], dtype=np.float64)
        if not np.isfinite(values).all():
            return Refusal("joint state makes no sense", f"joint positions are {values.tolist()}", True)
        opening = None
        index = place.get(self._gripper.joint)
        if self._gripper.joint and index is not None:
            share = (float(positions[index]) - self._gripper.closed) / (self._gripper.open - self._gripper.closed)
            if not np.isfinite(share):
                return Refusal("joint state makes no sense", f"gripper position is {positions[index]}", True)
            opening = float(np.clip(share, 0.0, 1.0))
        return JointReading(values, opening)
