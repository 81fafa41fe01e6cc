"""The arm's state at the moment at which an answer will take effect, for policies that take their time.

It is foretold from what is known when the policy is asked: the report that belongs to the frame, the commands that went
out since or that will before the answer comes, and how long earlier answers took. No clock, no I/O.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from magma_contracts.action_stream import ActionStream
from magma_contracts.actions import GRIPPER, ROTATION, TRANSLATION, ActionChunk
from magma_contracts.arm_state import StateT
from magma_contracts.chunk_schedule import OverlapRule
from magma_contracts.geometry.motions import then
from magma_contracts.geometry.rotations import (
    axis_angle_from_quaternion,
    conjugate,
    multiply,
    quaternion_from_axis_angle,
)

FloatArray = NDArray[np.float64]
SETTLING_S = 0.08
"""Time constant with which an arm follows its target. Of the simulated Panda a target that moves 50 mm per 0.2 s is
4.5 mm ahead at the end of each step; an arm that settles otherwise is foretold a few millimetres off."""
_ANSWERS_KEPT = 8
UNDER_WAY_MOST = 8
"""Commands that an answer can begin with: a policy in the graph whose answers take longer is told nothing ahead."""


class AnswerTimes:
    """How long the last answers took, from question to arrival."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_ANSWERS_KEPT)

    def add(self, seconds: float) -> None:
        """An answer came."""
        self._seconds.append(seconds)

    @property
    def expected_s(self) -> float:
        """How long the next one will take: as long as the slowest of the last ones. An answer that comes earlier than
        foretold finds the commands that it counts on still to come, and waits for them; one that comes later does not
        find what it counts on. 0 as long as nothing was measured."""
        return max(self._seconds, default=0.0)


@dataclass(frozen=True)
class Ahead:
    """What comes between a frame and the moment at which the answer to it takes effect."""

    commands: FloatArray
    """(n, 7) in order"""
    moments_s: FloatArray
    """(n,) when each goes out, from the frame on"""
    effect_s: float
    """when the answer takes effect, from the frame on"""


class Foresight:
    """What a policy of the graph knows of the time until its answer takes effect: the commands that it hears, what the
    controller makes of its own chunks, and how long its answers took. Stamps are of the clock that also stamps frames,
    and a command counts as shown by the frames that are captured after it was heard. Not thread-safe.

    The policy's chunks go the way that they go in the controller (`ActionStream`), with the rule by which a controller
    lets chunks overlap unless it is told otherwise."""

    def __init__(self, step_period_s: float) -> None:
        self._period_s = step_period_s
        self._stream = ActionStream()
        self._times = AnswerTimes()
        self._next_s = 0.0

    def commanded(self, delta: FloatArray, now_ns: int) -> None:
        """The arm was told something: (7,)."""
        self._due(self._stream, 1e-9 * now_ns)
        self._stream.sent(delta, now_ns)
        self._next_s = 1e-9 * now_ns + self._period_s

    def answered(self, chunk: ActionChunk, asked_ns: int, now_ns: int) -> None:
        """The policy's answer to what it was asked at `asked_ns` goes out."""
        self._times.add(max(0.0, 1e-9 * (now_ns - asked_ns)))
        self._stream.accept(chunk, max(1e-9 * now_ns, self._next_s), OverlapRule(), keep_references=True)

    def forget(self) -> None:
        """Something else is to be done: what was planned is not carried out any more."""
        self._stream.clear()

    def ahead(self, frame_ns: int, now_ns: int) -> Ahead:
        """What comes between a frame and the answer to it, for a policy that begins to work on it now."""
        effect_s = 1e-9 * now_ns + self._times.expected_s
        commands, moments = list(self._stream.log.steps_since(frame_ns)), []
        moments += [1e-9 * (moment - frame_ns) for moment in self._stream.log.moments_since(frame_ns)]
        future, due_s = self._stream.planned(), max(1e-9 * now_ns, self._next_s)
        while due_s < effect_s and (delta := self._due(future, due_s)) is not None:
            commands.append(delta)
            moments.append(due_s - 1e-9 * frame_ns)
            due_s += self._period_s
        return Ahead(
            np.array(commands).reshape(-1, GRIPPER + 1),
            np.array(moments, dtype=np.float64),
            effect_s - 1e-9 * frame_ns if self._times.expected_s else 0.0,
        )

    @staticmethod
    def _due(stream: ActionStream, now_s: float) -> FloatArray | None:
        """The step that the controller takes at this moment: its own clock says when, so the next one, though it may be
        due a little later by what is known here."""
        waiting_s = stream.next_step_s
        step = None if waiting_s is None else stream.due(max(now_s, waiting_s))
        return None if step is None else step[0].delta


def foretell(state: StateT, ahead: Ahead) -> StateT:
    """The state at the moment of effect.

    The fingers stay where they were measured: whether they close on something shows when it is measured.

    Args:
        state: as reported with the frame.
        ahead: what comes until then. Without any time until then the state is returned as it is.
    """
    if ahead.effect_s <= 0.0:
        return state
    position, quaternion = state.target_position, state.target_quaternion_xyzw
    turned = multiply(quaternion, conjugate(state.quaternion_xyzw))
    gap = np.concatenate([position - state.position, axis_angle_from_quaternion(turned)])
    gripper_target, now_s = state.gripper_target, 0.0
    for moment_s, command in zip(ahead.moments_s, ahead.commands, strict=True):
        gap = then(_left(gap, moment_s - now_s), command[:GRIPPER])
        position = position + command[TRANSLATION]
        quaternion = multiply(quaternion_from_axis_angle(command[ROTATION]), quaternion)
        gripper_target, now_s = float(command[GRIPPER]), moment_s
    gap = _left(gap, ahead.effect_s - now_s)
    return replace(
        state,
        position=position - gap[TRANSLATION],
        quaternion_xyzw=multiply(conjugate(quaternion_from_axis_angle(gap[ROTATION])), quaternion),
        target_position=position,
        target_quaternion_xyzw=quaternion,
        gripper_target=gripper_target,
    )


def _left(gap: FloatArray, seconds: float) -> FloatArray:
    """What is left of the way (6,) to the target after some time."""
    return gap * np.exp(-max(0.0, seconds) / SETTLING_S)
