"""Commands that the arm's reports may not show yet: until they do, the workspace box has to hold with and without them.

A report says where the arm's target was when it was made. How long a command takes to the arm, and a report back, is
not known. So a command counts as under way until a report's target shows it, or until a report is younger than the
command by the longest delay that is allowed at all; a command may be lost too, so any of those under way may or may not
add to the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_control.freshness import Instant

FloatArray = NDArray[np.float64]
RECOGNISED_WITHIN_M = 1e-6
"""A target that moved by the sum of some commands, to this, shows them."""
_LOOKED_THROUGH = 10
"""Of the commands under way, the oldest so many are looked for in a report; more are never under way in practice."""


@dataclass(frozen=True)
class _Sent:
    at: Instant
    translation: FloatArray


class UnderWay:
    """The translations of the commands under way, oldest first. No clock."""

    def __init__(self) -> None:
        self._sent: list[_Sent] = []
        self._target: FloatArray | None = None

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, translation: FloatArray, at: Instant) -> None:
        """A command goes out.

        Args:
            translation: (3,) m.
        """
        if translation.any():
            self._sent.append(_Sent(at, translation.copy()))

    def clear(self) -> None:
        """Every command so far is in the report that has just come."""
        self._sent.clear()

    def on_report(
        self, target: FloatArray, stamp_ns: int, now: Instant, longest_delay_s: float, give_up_s: float
    ) -> None:
        """A report of the arm's target.

        Args:
            target: (3,) m.
            stamp_ns: when the report was made.
            longest_delay_s: of a command on its way to the arm; 0 in a world that waits for each command.
            give_up_s: by the steady clock no command is under way for longer, whatever the stamps say.
        """
        before, self._target = self._target, target
        if before is not None:
            self._sent = self._sent[self._shown(target - before) :]
        self._sent = [
            sent
            for sent in self._sent
            if (stamp_ns - sent.at.ros_ns) * 1e-9 <= longest_delay_s and now.steady_s - sent.at.steady_s <= give_up_s
        ]

    def corners(self, target: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The least and the greatest of where the arm's target may be when each of the commands under way may or may
        not have arrived: (3,) and (3,), metres."""
        low, high = target.copy(), target.copy()
        for sent in self._sent:
            low += np.minimum(sent.translation, 0.0)
            high += np.maximum(sent.translation, 0.0)
        return low, high

    def _shown(self, moved: FloatArray) -> int:
        """How many of the commands a target that moved so far has behind it: those up to the last one that is part of
        the motion. Commands arrive in order, and some not at all. Of several explanations the one that leaves most
        commands under way counts."""
        sums = [np.zeros(3)]
        if _equal(moved, sums[0]):
            return 0
        for count, sent in enumerate(self._sent[:_LOOKED_THROUGH], start=1):
            further = [so_far + sent.translation for so_far in sums]
            if any(_equal(moved, candidate) for candidate in further):
                return count
            sums += further
        return 0


def _equal(one: FloatArray, other: FloatArray) -> bool:
    return bool((np.abs(one - other) <= RECOGNISED_WITHIN_M).all())
