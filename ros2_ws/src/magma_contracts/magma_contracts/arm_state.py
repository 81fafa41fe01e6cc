"""The arm's state, and the order of its sixteen numbers wherever they stand in a row: on the wire to a policy server,
in demonstrations, in a model's input.

Units and frames: metres, quaternions xyzw in the robot's base frame, gripper opening 0 closed ... 1 open.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

POSITION = slice(0, 3)
QUATERNION = slice(3, 7)
TARGET_POSITION = slice(7, 10)
TARGET_QUATERNION = slice(10, 14)
GRIPPER = slice(14, 15)
GRIPPER_TARGET = slice(15, 16)
STATE_SIZE = 16
"""Where each field of `ArmState` stands in its vector, and how long that is."""
StateT = TypeVar("StateT", bound="ArmState")


@dataclass(frozen=True)
class ArmState:
    """Where the end effector (the point between the finger tips) is, and where it was last told to go.

    Values are not judged: a state with a NaN in it can be held, so that whoever is in charge refuses it with a reason.

    Raises:
        ValueError: a field of another shape; the text names it.
    """

    position: NDArray[np.float64]
    """(3,) m, measured"""
    quaternion_xyzw: NDArray[np.float64]
    """(4,), measured"""
    target_position: NDArray[np.float64]
    """(3,) m, to which the next delta is added"""
    target_quaternion_xyzw: NDArray[np.float64]
    """(4,)"""
    gripper: float
    """measured opening, 0 closed ... 1 open"""
    gripper_target: float
    """commanded opening, 0 ... 1"""

    def __post_init__(self) -> None:
        for name, place in _PLACES.items():
            given = getattr(self, name)
            value = np.asarray(given, dtype=np.float64)
            shape = () if name in _SCALARS else (place.stop - place.start,)
            if value.shape != shape:
                raise ValueError(f"proprioception {name} must have shape {shape}, got {value.shape}")
            if value is not given:
                object.__setattr__(self, name, value if shape else float(value))

    @classmethod
    def of(cls: type[StateT], state: Any, **others: Any) -> StateT:
        """The state of any object with these attributes; `others` are fields that a subclass has besides."""
        return cls(**{name: getattr(state, name) for name in _PLACES}, **others)

    @classmethod
    def from_vector(cls: type[StateT], vector: NDArray[np.floating]) -> StateT:
        """The inverse of `as_vector`. ValueError for another shape."""
        if vector.shape != (STATE_SIZE,):
            raise ValueError(f"proprioception must have shape ({STATE_SIZE},), got {vector.shape}")
        values: dict[str, Any] = {name: vector[place] for name, place in _PLACES.items()}
        return cls(**values | {name: float(values[name][0]) for name in _SCALARS})

    def as_vector(self, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """(16,) in the order of the fields; float32, as demonstrations and models have it, unless asked otherwise."""
        return np.concatenate([np.atleast_1d(getattr(self, name)) for name in _PLACES]).astype(dtype)


_PLACES = dict(
    zip(
        (item.name for item in fields(ArmState)),
        (POSITION, QUATERNION, TARGET_POSITION, TARGET_QUATERNION, GRIPPER, GRIPPER_TARGET),
        strict=True,
    )
)
_SCALARS = ("gripper", "gripper_target")


@dataclass(frozen=True)
class _Stamped:
    """Comes first among the fields of what has a stamp."""

    stamp_ns: int


@dataclass(frozen=True)
class EndEffectorState(ArmState, _Stamped):
    """An arm's state as it is told in the graph: `stamp_ns` (nanoseconds of ROS time), the fields of `ArmState`, and
    the frame that they are in."""

    frame: str = "base"
