"""When each step of a chunk is due, and what becomes of chunks that overlap."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_contracts.actions import GRIPPER, ActionChunk

REPLACE, BLEND, ENSEMBLE = "replace", "blend", "ensemble"
OVERLAPS = (REPLACE, BLEND, ENSEMBLE)

_ROUNDING = 1e-6
"""Of a period: a tick this little before the due time counts as on time."""
_KEPT_CHUNKS = 16


@dataclass(frozen=True)
class OverlapRule:
    """How the steps of several chunks for one moment become one step."""

    mode: str = BLEND
    blend_steps: int = 2
    """blend: over so many steps the newer chunk takes over from the older"""
    ensemble_decay: float = 0.1
    """ensemble: a chunk weighs exp(-decay k) of the next older one's weight; Zhao et al., "Learning fine-grained
    bimanual manipulation with low-cost hardware", 2023 (ACT), gives the oldest the largest weight"""


@dataclass(frozen=True)
class DueStep:
    """A step to execute now."""

    chunk: ActionChunk
    """the newest chunk"""
    index: int
    """of the step in it"""
    delta: NDArray[np.float64]
    """(7,) after blending"""
    following: NDArray[np.float64] | None
    """(7,) the step after it as it is known now; None at the end"""


@dataclass(frozen=True)
class _Placed:
    chunk: ActionChunk
    start_s: float

    def at(self, slot_s: float) -> NDArray[np.float64] | None:
        """The step that this chunk has for the slot that begins at `slot_s`."""
        index = math.floor((slot_s - self.start_s) / self.chunk.step_period_s + 0.5)
        return self.chunk.deltas[index] if 0 <= index < len(self.chunk.deltas) else None


class ChunkSchedule:
    """Step k of a chunk is due k periods after the chunk's start; chunks that overlap share one grid of moments."""

    def __init__(self) -> None:
        self._placed: deque[_Placed] = deque(maxlen=_KEPT_CHUNKS)
        self._next = 0
        self._taken = 0
        self._rule = OverlapRule(REPLACE)
        self._pending = False
        self.overtaken = 0
        """steps lost so far because the control loop came too late for them"""

    def replace(self, chunk: ActionChunk, start_s: float) -> None:
        """Takes a new chunk whose step 0 is due at `start_s` of the steady clock, and forgets all others."""
        self._placed.clear()
        self._place(chunk, start_s, 0)

    def add(self, chunk: ActionChunk, start_s: float, executed: int, rule: OverlapRule) -> float:
        """Takes a new chunk beside those that are under way.

        Args:
            start_s: earliest time for its first step.
            executed: steps that were executed since the frame was captured from which the chunk comes. So many of its
                steps have been overtaken; all others are executed.
            rule: what happens where chunks overlap.

        Returns:
            When its first executed step is due.
        """
        self._rule = rule
        first = min(executed, len(chunk.deltas) - 1)
        if rule.mode == REPLACE:
            self.replace(chunk, start_s)
            return start_s
        waiting_s = self.next_step_s
        if waiting_s is not None:
            start_s = max(start_s, waiting_s)
        else:
            self._placed.clear()
        self._place(chunk, start_s - first * chunk.step_period_s, first)
        return start_s

    def _place(self, chunk: ActionChunk, start_s: float, first: int) -> None:
        self._placed.append(_Placed(chunk, start_s))
        self._next = first
        self._taken = 0
        self._pending = True

    def clear(self) -> None:
        """Forgets what was still to come."""
        self._placed.clear()
        self._pending = False

    @property
    def pending(self) -> bool:
        """Whether a step is still to come."""
        return self._pending

    @property
    def next_step_s(self) -> float | None:
        """When the next step is due; None when none is to come."""
        if not self._pending:
            return None
        newest = self._placed[-1]
        return newest.start_s + self._next * newest.chunk.step_period_s

    @property
    def last_step_s(self) -> float:
        """When the last step of the newest chunk is due; RuntimeError without one."""
        if not self._placed:
            raise RuntimeError("no chunk was given")
        newest = self._placed[-1]
        return newest.start_s + (len(newest.chunk.deltas) - 1) * newest.chunk.step_period_s

    def due(self, now_s: float) -> DueStep | None:
        """The step due at `now_s`, at most one per call. A step whose whole period has passed is not made up for:
        its place in time is gone, and two steps at once would be twice the speed."""
        if not self._pending:
            return None
        newest = self._placed[-1]
        chunk, period_s = newest.chunk, newest.chunk.step_period_s
        index = math.floor((now_s - newest.start_s) / period_s + _ROUNDING)
        if index < self._next:
            return None
        self.overtaken += min(index, len(chunk.deltas)) - self._next
        if index >= len(chunk.deltas):
            self._pending = False
            return None
        slot_s = newest.start_s + index * period_s
        step = DueStep(
            chunk, index, self._blended(slot_s, self._taken), self._blended_or_none(slot_s + period_s, self._taken + 1)
        )
        self._next = index + 1
        self._taken += 1
        if self._next == len(chunk.deltas):
            self._pending = False
        return step

    def _blended_or_none(self, slot_s: float, taken: int) -> NDArray[np.float64] | None:
        return None if self._placed[-1].at(slot_s) is None else self._blended(slot_s, taken)

    def _blended(self, slot_s: float, taken: int) -> NDArray[np.float64]:
        """What all chunks say about a slot; `taken` steps of the newest have been executed before it."""
        steps = [step for step in (placed.at(slot_s) for placed in self._placed) if step is not None]
        newest = steps[-1]
        if self._rule.mode == BLEND and len(steps) > 1:
            share = min(1.0, (taken + 1) / (self._rule.blend_steps + 1))
            blended = share * newest + (1.0 - share) * steps[-2]
        elif self._rule.mode == ENSEMBLE and len(steps) > 1:
            weights = np.exp(-self._rule.ensemble_decay * np.arange(len(steps)))
            blended = np.average(steps, axis=0, weights=weights)
        else:
            return newest
        # Half-open is no wish of either chunk: the gripper follows the newest.
        blended[GRIPPER] = newest[GRIPPER]
        return blended
