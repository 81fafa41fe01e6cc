"""Success rates with honest intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

NORMAL_QUANTILE_95 = 1.959963984540054
"""two-sided 95 % quantile of the standard normal distribution"""


@dataclass(frozen=True)
class Rate:
    """Successes out of a count, with Wilson's 95 % score interval.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", J. Am. Stat. Assoc. 22, 1927.
    It stays within [0, 1] and is meaningful for few episodes and for rates of 0 and 1.

    Raises:
        ValueError: no episode, or successes outside [0, count].
    """

    successes: int
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a rate needs at least one episode, got {self.count}")
        if not 0 <= self.successes <= self.count:
            raise ValueError(f"successes must lie in [0, {self.count}], got {self.successes}")

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound in [0, 1]."""
        n, rate, z2 = self.count, self.successes / self.count, NORMAL_QUANTILE_95**2
        centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
        half = NORMAL_QUANTILE_95 / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.successes}/{self.count} [{100 * low:.0f}, {100 * high:.0f}] %"
