"""What all operator devices have in common: whether they are heard and engaged, and their gripper. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ArmPose:
    """What a device needs to know of the arm."""

    quaternion_xyzw: FloatArray
    """(4,) measured orientation of the end effector, base frame"""
    gripper_target: float
    """commanded opening 0 ... 1"""


@dataclass(frozen=True)
class DeviceStatus:
    """What TeleopStatus.msg carries."""

    connected: bool
    engaged: bool
    text: str


class GripperToggle:
    """The opening that an operator's commands carry: what the arm holds, until it is toggled."""

    def __init__(self) -> None:
        self._opening: float | None = None
        self._toggled = False

    def toggle(self) -> None:
        """Opens what is closed and closes what is open, at the next command."""
        self._toggled = True

    def opening(self, held: float) -> float:
        """The opening to command when the arm holds `held`."""
        current = held if self._opening is None else self._opening
        if self._toggled:
            self._toggled = False
            self._opening = current = 0.0 if current > 0.5 else 1.0
        return current

    def forget(self) -> None:
        """Somebody else has the arm: from then on what it holds counts."""
        self._opening = None
        self._toggled = False
