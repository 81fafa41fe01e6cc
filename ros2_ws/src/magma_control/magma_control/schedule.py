"""When each step of a chunk is due."""

from __future__ import annotations

import math
from dataclasses import dataclass

from magma_common.data import ActionChunk

_ROUNDING = 1e-6
"""Of a period: a tick this little before the due time counts as on time."""


@dataclass(frozen=True)
class DueStep:
    """A step to execute now."""

    chunk: ActionChunk
    index: int


class ChunkSchedule:
    """Holds at most one chunk: step k is due k periods after the start. A newer chunk replaces the rest of the old."""

    def __init__(self) -> None:
        self._chunk: ActionChunk | None = None
        self._start_s = 0.0
        self._next = 0
        self.overtaken = 0
        """steps lost so far because the control loop came too late for them"""

    def replace(self, chunk: ActionChunk, start_s: float) -> None:
        """Takes a new chunk whose step 0 is due at `start_s` of the steady clock."""
        self._chunk, self._start_s, self._next = chunk, start_s, 0

    def clear(self) -> None:
        """Forgets what was still to come."""
        self._chunk = None

    @property
    def pending(self) -> bool:
        """Whether a step is still to come."""
        return self._chunk is not None

    def due(self, now_s: float) -> DueStep | None:
        """The step due at `now_s`, at most one per call. A step whose whole period has passed is not made up for:
        its place in time is gone, and two steps at once would be twice the speed."""
        chunk = self._chunk
        if chunk is None:
            return None
        index = math.floor((now_s - self._start_s) / chunk.step_period_s + _ROUNDING)
        if index < self._next:
            return None
        self.overtaken += min(index, len(chunk.deltas)) - self._next
        if index >= len(chunk.deltas):
            self._chunk = None
            return None
        step = DueStep(chunk, index)
        self._next = index + 1
        if self._next == len(chunk.deltas):
            self._chunk = None
        return step
