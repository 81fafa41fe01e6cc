"""Whether reports of an arm agree with each other: where it stands is believed when several say so, not one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
CONTRADICTION_S = 1.0
"""Two jumps within this time are two opinions about where the arm is, not one arm that was moved."""


@dataclass(frozen=True)
class Confirmation:
    """What it takes to believe that an arm stands where it is reported."""

    reports: int = 5
    """so many in a row that agree"""
    seconds: float = 0.05
    """from the first of them to the last, at least"""


ONE_REPORT = Confirmation(1, 0.0)
"""A world that waits for each answer has one report per answer, and nobody else in it."""


class ReportAgreement:
    """Follows the reports of an arm's place: joint positions or a position in space. No clock."""

    def __init__(self, confirmation: Confirmation, still: float, jump: float, top_speed: float | FloatArray) -> None:
        """
        Args:
            still: reports of an arm that stands differ by no more, rad or m.
            jump: so much farther than its speed allows an arm may be from one report to the next, rad or m.
            top_speed: rad/s or m/s; one value, or one per coordinate.
        """
        self._confirmation = confirmation
        self._still = still
        self._jump = jump
        self._top_speed = top_speed
        self._first: tuple[float, FloatArray] | None = None
        self._agreeing = 0
        self._last: tuple[float, int, FloatArray] | None = None
        self._jumps: deque[float] = deque()

    def forget(self) -> None:
        """Begins anew: what was reported before does not count."""
        self._first = None
        self._agreeing = 0
        self._last = None
        self._jumps.clear()

    def add(self, place: FloatArray, steady_s: float, stamp_ns: int) -> bool:
        """Takes a report. Returns whether it lies farther from the one before than the arm can have come.

        Args:
            place: (n,), finite.
            steady_s: when it came.
            stamp_ns: when it was made; one that repeats the stamp before is the same report once more.
        """
        last = self._last
        if last is not None and stamp_ns == last[1] and np.array_equal(place, last[2]):
            return False
        self._last = (steady_s, stamp_ns, place)
        while self._jumps and steady_s - self._jumps[0] > CONTRADICTION_S:
            self._jumps.popleft()
        jumped = False
        if last is not None:
            # Reports that were held up on their way come together.
            elapsed_s = max(steady_s - last[0], min((stamp_ns - last[1]) * 1e-9, CONTRADICTION_S), 0.0)
            way = np.abs(place - last[2])
            jumped = way.max() > self._jump and bool((way > self._jump + 1.5 * self._top_speed * elapsed_s).any())
        if jumped:
            self._jumps.append(steady_s)
        if self._first is None or np.abs(place - self._first[1]).max() > self._still:
            self._first, self._agreeing = (steady_s, place), 0
        self._agreeing += 1
        return jumped

    @property
    def contradicting(self) -> bool:
        """Whether the place went to and fro lately, faster than an arm can."""
        return len(self._jumps) > 1

    @property
    def confirmed(self) -> FloatArray | None:
        """(n,) where the arm stands according to the last reports, or None when that is not sure."""
        first, last, confirmation = self._first, self._last, self._confirmation
        if first is None or last is None or self._agreeing < confirmation.reports:
            return None
        seconds = CONTRADICTION_S if self.contradicting and confirmation.seconds > 0.0 else confirmation.seconds
        # Sums of periods round.
        return last[2] if last[0] - first[0] >= seconds - 1e-9 else None
