"""What a policy's actions mean."""

from __future__ import annotations

from dataclasses import dataclass

from magma_contracts.text import brief

LARGEST_SIDE = 8192
"""Pixels of the longest side of a camera's picture."""
LONGEST_HORIZON = 1024
"""Steps of an action chunk."""
LONGEST_STEP_S = 3600.0
SHORTEST_STEP_S = 1e-3
LONGEST_NAME = 128
"""Characters of what is only a name."""


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
        """ValueError when a value is none that a policy can have: whoever holds the spec makes pictures of its size,
        arrays of its horizon, and shows its names."""
        for name in ("policy", "frame", "rotation", "gripper", "statistics_key", "camera"):
            text = getattr(self, name)
            if not text.isprintable() or len(text) > LONGEST_NAME:
                raise ValueError(f"{name} must be at most {LONGEST_NAME} printable characters, got {brief(text)}")
        for name, most in (
            ("horizon", LONGEST_HORIZON),
            ("image_height", LARGEST_SIDE),
            ("image_width", LARGEST_SIDE),
        ):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from 1 to {most}, got {brief(getattr(self, name))}")
        if not SHORTEST_STEP_S <= self.step_period_s <= LONGEST_STEP_S:
            raise ValueError(
                f"step_period_s must be from {SHORTEST_STEP_S:g} to {LONGEST_STEP_S:g}, got {self.step_period_s}"
            )
