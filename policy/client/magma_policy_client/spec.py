"""What a policy's actions mean, and the arm's state that some policies need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class ActionSpec:
    """What the deltas mean. The fields are those of the policy's own specification; see `magma_policy.ActionSpec`.

    `horizon` actions per answer, `step_period_s` seconds each; deltas are metres and an axis-angle vector in radians in
    frame `frame`, the gripper is absolute, 0 closed to 1 open. Pictures are uint8 rgb, `image_height` x `image_width`.
    """

    policy: str
    horizon: int
    step_period_s: float
    frame: str
    rotation: str
    gripper: str
    statistics_key: str
    camera: str
    image_height: int
    image_width: int
    proprioception: bool

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.image_height < 1 or self.image_width < 1:
            raise ValueError(
                f"horizon and picture size must be positive, got {self.horizon}, {self.image_height}x{self.image_width}"
            )
        if not (math.isfinite(self.step_period_s) and self.step_period_s > 0):
            raise ValueError(f"step_period_s must be positive, got {self.step_period_s}")


class EndEffectorLike(Protocol):
    """Anything with the arm's measured and commanded state: base frame, metres, quaternions xyzw, gripper 0..1."""

    @property
    def position(self) -> Any: ...
    @property
    def quaternion_xyzw(self) -> Any: ...
    @property
    def target_position(self) -> Any: ...
    @property
    def target_quaternion_xyzw(self) -> Any: ...
    @property
    def gripper(self) -> Any: ...
    @property
    def gripper_target(self) -> Any: ...


@dataclass(frozen=True)
class Proprioception:
    """The arm's state as it is sent. Raises ValueError on other shapes."""

    position: np.ndarray
    quaternion_xyzw: np.ndarray
    target_position: np.ndarray
    target_quaternion_xyzw: np.ndarray
    gripper: float
    gripper_target: float

    def __post_init__(self) -> None:
        for name, size in STATE_PARTS:
            value = np.asarray(getattr(self, name), dtype=np.float64)
            shape = (size,) if size else ()
            if value.shape != shape:
                raise ValueError(f"proprioception {name} must have shape {shape}, got {value.shape}")
            object.__setattr__(self, name, value if size else float(value))

    @classmethod
    def of(cls, state: EndEffectorLike) -> Proprioception:
        """A copy of any object with these attributes."""
        return cls(*(getattr(state, name) for name, _ in STATE_PARTS))

    def as_vector(self) -> np.ndarray:
        """float64 (16,) in the order of the fields."""
        return np.concatenate([np.atleast_1d(getattr(self, name)) for name, _ in STATE_PARTS])

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> Proprioception:
        """The inverse of `as_vector`. Raises ValueError for another shape."""
        if vector.shape != (STATE_SIZE,):
            raise ValueError(f"proprioception must have shape ({STATE_SIZE},), got {vector.shape}")
        return cls(vector[0:3], vector[3:7], vector[7:10], vector[10:14], float(vector[14]), float(vector[15]))


STATE_PARTS = (
    ("position", 3),
    ("quaternion_xyzw", 4),
    ("target_position", 3),
    ("target_quaternion_xyzw", 4),
    ("gripper", 0),
    ("gripper_target", 0),
)
STATE_SIZE = 16
