"""From a policy's chunks to the steps that an arm executes, where answers come late.

A delta means a way from where the arm's target was when the policy looked, not from where it has got to by the time of
the answer. So what was commanded since the frame is subtracted, and the arm is told to go to

    target at capture + steps of the chunk so far - target now.

Only motions are needed for that, not targets: those that the chunk has for the time since its frame, and those that
were commanded in that time. A chunk of n steps can begin with the steps that its policy knew to be under way (as the
frozen beginning of a chunk in Black et al., "Real-time execution of action chunking flow policies", 2025,
arXiv:2506.07339): they are skipped as far as they were executed, and then nothing is left to subtract.

The robot's controller and the clocks of the evaluator use this class, each with its own time. No clock, no I/O.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from magma_contracts.actions import GRIPPER, ActionChunk
from magma_contracts.chunk_schedule import REPLACE, ChunkSchedule, DueStep, OverlapRule
from magma_contracts.geometry.motions import missing, then, total
from magma_contracts.geometry.rotations import axis_angle_from_quaternion, conjugate, multiply

FloatArray = NDArray[np.float64]
COMMANDS_KEPT = 256
"""Commands to remember: more than any policy can be late."""
_NOTHING = 1e-9
"""m and rad: what rounding leaves of a motion that was subtracted from itself."""
_REPORTED_WITHIN = 1e-6
"""m and rad: a target that was reported so near to where it was told to go has done what it was told."""


@dataclass(frozen=True)
class _Sent:
    at_ns: int
    delta: FloatArray
    is_step: bool = True
    """False: what an arm made of its commands otherwise than it was told"""


class CommandLog:
    """How the arm's target was moved lately, oldest first. Stamps are of the clock that also stamps frames."""

    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque(maxlen=COMMANDS_KEPT)
        self._reported: tuple[FloatArray, FloatArray] | None = None
        self._since_report: list[FloatArray] = []

    def add(self, delta: FloatArray, at_ns: int) -> None:
        """A command (7,) goes out."""
        sent = _Sent(at_ns, delta.copy())
        if self._reported is not None:
            # Added up at the report: this is between chunk and command.
            self._since_report.append(sent.delta)
        self._append(sent)

    def on_target(self, position: FloatArray, quaternion_xyzw: FloatArray, at_ns: int) -> None:
        """For arms whose reports show every command at once: where the target is by now, (3,) m and (4,). An arm that
        braked, or met a limit of its own, did not do all that it was told; then that counts which it did."""
        before, self._reported = self._reported, (position, quaternion_xyzw)
        told, self._since_report = self._since_report, []
        if before is None:
            return
        turned = axis_angle_from_quaternion(multiply(quaternion_xyzw, conjugate(before[1])))
        went = np.concatenate([position - before[0], turned])
        otherwise = missing(went, total(np.array(told).reshape(-1, GRIPPER + 1)))
        if np.abs(otherwise).max() > _REPORTED_WITHIN:
            self._append(_Sent(at_ns, np.append(otherwise, 0.0), is_step=False))

    def clear(self) -> None:
        """Nothing so far counts any more."""
        self._sent.clear()
        self._reported, self._since_report = None, []

    def steps_since(self, stamp_ns: int) -> FloatArray:
        """The commands (n, 7) from this moment on: a frame of the same stamp does not show them yet."""
        return np.array([sent.delta for sent in self._since(stamp_ns) if sent.is_step]).reshape(-1, GRIPPER + 1)

    def moments_since(self, stamp_ns: int) -> list[int]:
        """When those went out."""
        return [sent.at_ns for sent in self._since(stamp_ns) if sent.is_step]

    def has_since(self, stamp_ns: int) -> bool:
        """Whether the target was moved at all from this moment on."""
        return bool(self._sent) and self._sent[-1].at_ns >= stamp_ns

    def motion_since(self, stamp_ns: int) -> FloatArray:
        """How far they moved the target: (6,)."""
        return total(np.array([sent.delta for sent in self._since(stamp_ns)]).reshape(-1, GRIPPER + 1))

    def _since(self, stamp_ns: int) -> list[_Sent]:
        return [sent for sent in self._sent if sent.at_ns >= stamp_ns]

    def _append(self, sent: _Sent) -> None:
        if self._sent and sent.at_ns < self._sent[-1].at_ns:
            # The clock was set back: what is stamped ahead of it would count as new for all time.
            self._sent.clear()
        self._sent.append(sent)


class ActionStream:
    """The chunks of one policy on their way to one arm."""

    def __init__(self) -> None:
        self._schedule = ChunkSchedule()
        self._log = CommandLog()
        self._owed: FloatArray | None = None

    @property
    def pending(self) -> bool:
        """Whether a step is still to come."""
        return self._schedule.pending

    @property
    def overtaken(self) -> int:
        """Steps lost so far because nobody asked for them in time."""
        return self._schedule.overtaken

    @property
    def last_step_s(self) -> float:
        """When the last step of the newest chunk is due; RuntimeError without one."""
        return self._schedule.last_step_s

    @property
    def next_step_s(self) -> float | None:
        """When the next step is due; None when none is to come."""
        return self._schedule.next_step_s

    @property
    def log(self) -> CommandLog:
        """What was sent."""
        return self._log

    def accept(
        self, chunk: ActionChunk, start_s: float, rule: OverlapRule, *, keep_references: bool, scale: float = 1.0
    ) -> None:
        """Takes a chunk beside those that are under way.

        Args:
            chunk: its deltas are relative to the arm's target at its stamp.
            start_s: earliest time for its next step, by the steady clock.
            rule: what happens where chunks overlap. One that replaces is carried out from its first step, as a motion
                from where the target is now.
            keep_references: subtract what was commanded since the frame.
            scale: part of every step that is carried out, where everything is slowed down.
        """
        executed = len(self._log.moments_since(chunk.stamp_ns))
        self._schedule.add(chunk, start_s, executed, rule)
        self._owed = None
        if keep_references and rule.mode != REPLACE and self._log.has_since(chunk.stamp_ns):
            planned = chunk.deltas[: min(executed, len(chunk.deltas) - 1)]
            owed = missing(total(scale * planned), self._log.motion_since(chunk.stamp_ns))
            self._owed = owed / scale if np.abs(owed).max() > _NOTHING else None

    def replace(self, chunk: ActionChunk, start_s: float) -> None:
        """Takes a chunk in the place of all others, from its first step and as a motion from where the target is now:
        where the world waits for each command, its frame has seen them all."""
        self._schedule.replace(chunk, start_s)
        self._owed = None

    def due(self, now_s: float) -> tuple[DueStep, FloatArray | None] | None:
        """The step due now, at most one per call.

        Returns:
            The step, and the motion (6,) that was added to it because of what was commanded since its frame, or None.
        """
        step = self._schedule.due(now_s)
        if step is None:
            return None
        owed, self._owed = self._owed, None
        if owed is None:
            return step, None
        # In full: overlapping chunks are blended, but where the arm is is no matter of opinion.
        return replace(step, delta=np.append(then(owed, step.delta[:GRIPPER]), step.delta[GRIPPER])), owed

    def sent(self, delta: FloatArray, at_ns: int) -> None:
        """A step goes out, as the limits left it: (7,)."""
        self._log.add(delta, at_ns)

    def planned(self) -> ActionStream:
        """A copy of what is still to come, to look ahead with; nothing was sent by it."""
        ahead = ActionStream()
        ahead._schedule, ahead._owed = copy.deepcopy(self._schedule), self._owed
        return ahead

    def clear(self) -> None:
        """Forgets what was still to come."""
        self._schedule.clear()
        self._owed = None

    def forget(self) -> None:
        """Forgets what was still to come and what was sent: another stream of commands begins."""
        self.clear()
        self._log.clear()
