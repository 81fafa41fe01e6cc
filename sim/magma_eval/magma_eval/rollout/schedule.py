"""When an action takes effect: the timing of an episode, without any simulator and without any real clock.

**Lock-step.** The world waits. Every action takes effect at the step whose frame it was made from.

**Real time.** Step k of the world covers the time [k T, (k + 1) T), T the task's step period. The camera delivers
frame k at k T. A policy works on one frame at a time. When it is free it takes the newest frame, unless it has seen
that one already; then it waits for the next. An answer to a question asked at time s arrives at s + latency, and its
first action takes effect then, in the middle of a step if the simulator can do that, else at the beginning of the next.
The other actions of a chunk follow one period after another, until a newer answer replaces what is left. At most one
action takes effect per step: the newest. Where there is none, the arm goes on with what it was told before.

All times are integers in microseconds, so that nothing depends on rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Action = TypeVar("Action")


@dataclass(frozen=True)
class Answer(Generic[Action]):
    """A policy's answer on its way to the arm."""

    arrival_us: int
    frame: int
    """step of the frame it was made from"""
    actions: Sequence[Action]


@dataclass(frozen=True)
class Due(Generic[Action]):
    """What a step executes."""

    action: Action
    frame: int
    """step of the frame it was made from"""
    late_us: int
    """time from the step's beginning until it takes effect"""


class RealTimeSchedule(Generic[Action]):
    """Which frames the policy looks at and what each step executes, given how long each answer takes.

    Per step k: `question(k)`, and if it is not None, `answer(...)`; then `due(k)`. Of an arm whose actions keep what
    they refer to `magma_eval.rollout.arm_schedule` says what each step executes, and here only `answered` counts.

    Args:
        period_us: step period.
        within_steps: whether an action can take effect in the middle of a step.

    Raises:
        ValueError: a period below one microsecond.
    """

    def __init__(self, period_us: int, *, within_steps: bool) -> None:
        if period_us < 1:
            raise ValueError(f"the step period is at least 1 µs, got {period_us}")
        self._period_us = period_us
        self._free_us = 0
        self._seen = -1
        self._on_the_way: list[Answer[Action]] = []
        self._within_steps = within_steps
        self._left: list[Action] = []
        self._frame = -1
        self._late_us = 0

    def looks_at(self, step: int) -> bool:
        """Whether the policy will look at frame `step`, known once frame `step - 1` was dealt with."""
        return step > self._seen and self._free_us < (step + 1) * self._period_us

    def question(self, step: int) -> int | None:
        """When (µs) the policy begins to work on frame `step`, or None: it stays busy until the next frame."""
        return max(self._free_us, step * self._period_us) if self.looks_at(step) else None

    def answered(self, step: int, latency_us: int) -> int:
        """The answer to frame `step` takes this long; returns when it is there. ValueError: nothing was asked, or a
        negative latency."""
        begin = self.question(step)
        if begin is None or latency_us < 0:
            raise ValueError(f"no question is open for frame {step}, or latency {latency_us} µs is negative")
        self._free_us, self._seen = begin + latency_us, step
        return self._free_us

    def answer(self, step: int, latency_us: int, actions: Sequence[Action]) -> None:
        """As `answered`, and `due` tells what becomes of the actions."""
        self._on_the_way.append(Answer(self.answered(step, latency_us), step, actions))

    def due(self, step: int) -> Due[Action] | None:
        """What step `step` executes; None: no command."""
        begin_us = step * self._period_us
        end_us = begin_us + self._period_us
        for answer in list(self._on_the_way):
            if answer.arrival_us <= begin_us or (self._within_steps and answer.arrival_us < end_us):
                self._left, self._frame = list(answer.actions), answer.frame
                self._late_us = max(0, answer.arrival_us - begin_us)
                self._on_the_way.remove(answer)
        return Due(self._left.pop(0), self._frame, self._late_us) if self._left else None
