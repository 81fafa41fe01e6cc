"""What a task takes as an action.

The evaluator is generic in it: the loop, the clocks, the records and the videos ask the task's action type. Robot arms
take `END_EFFECTOR_DELTA`; a task of another kind brings a type of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

ActionT = TypeVar("ActionT")
Deltas = NDArray[np.float64]
"""EndEffectorDelta (7,), or a chunk of them (n, 7)"""


class ActionType(Protocol[ActionT]):
    """One kind of action: what is a valid one, what stands for none, and how actions are kept in a file."""

    @property
    def name(self) -> str:
        """As messages call it."""

    def checked(self, answer: Any) -> list[ActionT]:
        """The actions in a policy's answer, which is one or several of them, in order.

        Raises:
            ValueError: it holds none, an invalid one, or something else.
        """

    def hold(self, observation: Any) -> ActionT:
        """The action that a step without a command is recorded with, and that changes nothing."""

    def pack(self, actions: Sequence[ActionT]) -> NDArray[Any]:
        """Actions as one array with a row each, for a file; never an array of objects."""

    def unpack(self, packed: NDArray[Any]) -> list[ActionT]:
        """Inverse of `pack`. ValueError: the array holds something else."""

    def described(self, packed: NDArray[Any], step: int) -> str:
        """What a step does, in words for people who watch a video."""


class EndEffectorDeltas:
    """Steps of an arm: dx, dy, dz (m), an axis-angle vector rx, ry, rz (rad), and the absolute gripper opening
    (0 closed ... 1 open); float64 (7,)."""

    name = "end_effector_delta"

    def checked(self, answer: Any) -> list[Deltas]:
        return list(as_rows(answer))

    def hold(self, observation: Any) -> Deltas:
        return hold_action(observation)

    def pack(self, actions: Sequence[Deltas]) -> Deltas:
        return np.array(actions, dtype=np.float64).reshape(-1, 7)

    def unpack(self, packed: NDArray[Any]) -> list[Deltas]:
        if packed.dtype != np.float64 or packed.ndim != 2 or packed.shape[1] != 7 or not np.isfinite(packed).all():
            raise ValueError(f"actions must be finite float64 of shape (T, 7), got {packed.dtype} {packed.shape}")
        return list(packed)

    def described(self, packed: NDArray[Any], step: int) -> str:
        now = packed[step]
        before = packed[step - 1][6] if step else 1.0
        if now[6] < 0.5 <= before:
            return "closing the gripper"
        if before < 0.5 <= now[6]:
            return "opening the gripper"
        still = float(np.abs(now[:6]).max()) < 1e-3
        grip = "open" if now[6] >= 0.5 else "closed"
        return f"{'holding still' if still else 'moving'}, gripper {grip}"


END_EFFECTOR_DELTA = EndEffectorDeltas()


def action_type_of(task: Any) -> ActionType[Any]:
    """The type of a task's actions: its own `action_type`, else that of arms."""
    return getattr(task, "action_type", END_EFFECTOR_DELTA)


def hold_action(observation: Any) -> Deltas:
    """The EndEffectorDelta (7,) that leaves the arm's target where it is."""
    return np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, float(np.clip(observation.end_effector.gripper_target, 0.0, 1.0))])


def as_rows(actions: Any) -> Deltas:
    """One action (7,) or a chunk (n, 7) as rows. ValueError: neither, empty, not finite, or a bad gripper."""
    rows = np.asarray(actions, dtype=np.float64)
    if rows.shape == (7,):
        rows = rows[None]
    if rows.ndim != 2 or rows.shape[1] != 7 or len(rows) == 0:
        raise ValueError(f"actions have shape (7,) or (n, 7), got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("actions must be finite")
    if rows[:, 6].min() < 0.0 or rows[:, 6].max() > 1.0:
        raise ValueError("the gripper is an absolute opening in [0, 1]")
    return rows
