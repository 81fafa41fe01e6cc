"""What an arm executes where the world does not wait: a policy's chunks on the same way as through the robot's
controller (`magma_contracts.action_stream`), in simulated time, and at most one command per step of the world.

All times are integers in microseconds of the world's time, so that nothing depends on rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_contracts.action_stream import ActionStream
from magma_contracts.actions import GRIPPER, ActionChunk
from magma_contracts.chunk_schedule import OverlapRule
from magma_contracts.foresight import Ahead

Delta = NDArray[np.float64]
COMMAND_INTERVAL = 0.9
"""Of a step period: two commands are at least so far apart, as the robot's controller has it by default."""


@dataclass(frozen=True)
class ArmStep:
    """What a step executes."""

    action: Delta
    """(7,)"""
    frame: int
    """step of the frame that it answers"""
    late_us: int
    """time from the step's beginning until it takes effect"""


class ArmSchedule:
    """The chunks of one episode on their way to the arm.

    Args:
        period_us: step period.
        within_steps: whether an action can take effect in the middle of a step.
    """

    def __init__(self, period_us: int, *, within_steps: bool) -> None:
        self._period_us, self._within_steps = period_us, within_steps
        self._stream = ActionStream()
        self._on_the_way: list[tuple[int, int, Delta]] = []
        self._free_us = 0

    def answer(self, frame: int, arrival_us: int, deltas: Sequence[Delta]) -> None:
        """An answer to the frame of this step arrives then; one of nothing ends what was planned before."""
        self._on_the_way.append((arrival_us, frame, np.array(deltas, dtype=np.float64).reshape(-1, GRIPPER + 1)))

    def due(self, step: int) -> ArmStep | None:
        """What step `step` executes; None: no command."""
        now_us = begin_us = step * self._period_us
        last_us = begin_us + self._period_us - 1 if self._within_steps else begin_us
        while True:
            waiting_s = self._stream.next_step_s
            due_us = None if waiting_s is None else max(now_us, round(1e6 * waiting_s))
            arrival_us = max(now_us, self._on_the_way[0][0]) if self._on_the_way else None
            if arrival_us is not None and arrival_us <= (last_us if due_us is None else min(due_us, last_us)):
                now_us = arrival_us
                self._accept(*self._on_the_way.pop(0)[1:], now_us)
                continue
            if due_us is None or due_us > last_us:
                return None
            due = self._stream.due(1e-6 * due_us)
            if due is not None:
                delta = due[0].delta
                self._stream.sent(delta, 1000 * due_us)
                self._free_us = due_us + round(COMMAND_INTERVAL * self._period_us)
                frame = due[0].chunk.stamp_ns // (1000 * self._period_us)
                return ArmStep(delta, frame, due_us - begin_us)

    def ahead(self, frame: int, asked_us: int, expected_us: int) -> Ahead:
        """What comes between a frame and the answer to it, if the answer takes as long as expected.

        Args:
            frame: its step, the next one to be executed.
            asked_us: when the policy begins to work on it.
            expected_us: how long the answer will take.
        """
        begin_us, effect_us = frame * self._period_us, asked_us + expected_us
        future, commands, moments = copy.deepcopy(self), [], []
        for step in range(frame, effect_us // self._period_us + 1):
            due = future.due(step)
            moment_us = 0 if due is None else step * self._period_us + due.late_us
            if due is not None and moment_us < effect_us:
                commands.append(due.action)
                moments.append(1e-6 * (moment_us - begin_us))
        return Ahead(np.array(commands).reshape(-1, GRIPPER + 1), np.array(moments), 1e-6 * (effect_us - begin_us))

    def _accept(self, frame: int, deltas: Delta, now_us: int) -> None:
        if not len(deltas):
            self._stream.clear()
            return
        period_us = self._period_us
        chunk = ActionChunk(deltas, 1000 * frame * period_us, 1e-6 * period_us, policy="", instruction="", sequence=0)
        start_s = 1e-6 * max(now_us, self._free_us)
        self._stream.accept(chunk, start_s, OverlapRule(), keep_references=True)
