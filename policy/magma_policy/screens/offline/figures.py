"""Figures of a scored set: each with how many answers it is of, its interval, and what guessing would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from magma_eval.confidence_intervals import Rate


@dataclass(frozen=True)
class Figure:
    """One number of a table, in percent.

    Attributes:
        name: what it is.
        percent: its value.
        count: answers behind it.
        interval: of 95 %, None where there is none: of means of means.
        chance: what guessing gives, None where that is not known.
    """

    name: str
    percent: float
    count: int
    interval: tuple[float, float] | None = None
    chance: float | None = None

    def __str__(self) -> str:
        interval = "" if self.interval is None else " [{:.1f}, {:.1f}]".format(*self.interval)
        chance = "" if self.chance is None else f", chance {self.chance:.1f}"
        return f"{self.name}: {self.percent:.1f} %{interval} of {self.count}{chance}"


def rate(name: str, right: Sequence[bool], chance: float | None = None) -> Figure:
    """How many of the answers are right, with Wilson's interval."""
    found = Rate(sum(right), len(right))
    low, high = found.interval
    return Figure(name, 100.0 * found.value, len(right), (100.0 * low, 100.0 * high), chance)


def mean(name: str, values: Sequence[float], count: int) -> Figure:
    """A plain mean of fractions, of so many answers."""
    return Figure(name, 100.0 * float(np.mean(values)), count)
