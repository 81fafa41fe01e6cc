"""What a policy's actions mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

LARGEST_SIDE = 8192
"""Pixels of the longest side of a camera's picture."""


@dataclass(frozen=True)
class ActionSpec:
    """What the deltas of a policy mean, and what it wants to see; a controller or task that disagrees refuses to start
    and names the field.

    Values are not judged here, so that a spec from a stranger can be held and refused with a reason; `check` does.
    """

    policy: str
    """name of the policy"""
    horizon: int
    """steps in an action chunk, at most"""
    step_period_s: float
    """seconds from one step to the next"""
    frame: str
    """frame of translation and rotation: "base" """
    rotation: str
    """coding of the rotation: "axis_angle", a vector in radians"""
    gripper: str
    """coding of the gripper: "absolute_open_1", 0 closed ... 1 open"""
    statistics_key: str
    """which statistics of the checkpoint un-normalise the actions"""
    camera: str
    """which camera the policy was trained on, such as "third_person" """
    image_height: int
    """px of the picture that the policy takes, rgb uint8"""
    image_width: int
    proprioception: bool
    """whether the policy reads the arm's state"""

    def check(self) -> None:
        """ValueError when a value is none that a policy can have."""
        if self.horizon < 1 or self.image_height < 1 or self.image_width < 1:
            raise ValueError(
                f"horizon and picture size must be positive, got {self.horizon}, {self.image_height}x{self.image_width}"
            )
        if not (math.isfinite(self.step_period_s) and self.step_period_s > 0):
            raise ValueError(f"step_period_s must be positive, got {self.step_period_s}")
