"""Success rates with honest intervals, comparisons of two policies, and how many episodes a claim needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

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
    def value(self) -> float:
        """successes / count"""
        return self.successes / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound in [0, 1]."""
        n, rate, z2 = self.count, self.value, NORMAL_QUANTILE_95**2
        centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
        half = NORMAL_QUANTILE_95 / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
        # A rate of 0 or 1 is its own bound; rounding must not push the bound past it.
        low = 0.0 if self.successes == 0 else max(0.0, centre - half)
        high = 1.0 if self.successes == n else min(1.0, centre + half)
        return low, high

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.successes}/{self.count} [{100 * low:.0f}, {100 * high:.0f}] %"


@dataclass(frozen=True)
class Difference:
    """A difference of two rates, first minus second, with a 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}] points"


def difference_of_rates(first: Rate, second: Rate) -> Difference:
    """Newcombe's hybrid score interval for two independent rates.

    R. G. Newcombe, "Interval estimation for the difference between independent proportions: comparison of eleven
    methods", Statistics in Medicine 17, 1998, method 10.
    """
    (low1, high1), (low2, high2) = first.interval, second.interval
    value = first.value - second.value
    below = math.hypot(first.value - low1, high2 - second.value)
    above = math.hypot(high1 - first.value, second.value - low2)
    return Difference(value, value - below, value + above)


@dataclass(frozen=True)
class PairedOutcomes:
    """Two policies on the same episodes, as four counts.

    Raises:
        ValueError: a negative count, or no episode at all.
    """

    both: int
    only_first: int
    only_second: int
    neither: int

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 0 or self.count < 1:
            raise ValueError(f"counts of paired outcomes must be 0 or more, and at least one episode; got {vars(self)}")

    @property
    def count(self) -> int:
        """Number of shared episodes."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def first(self) -> Rate:
        """The first policy's rate on the shared episodes."""
        return Rate(self.both + self.only_first, self.count)

    @property
    def second(self) -> Rate:
        """The second policy's rate on the shared episodes."""
        return Rate(self.both + self.only_second, self.count)

    @property
    def mcnemar_p(self) -> float:
        """Exact two-sided p value of McNemar's test: a sign test on the episodes with different outcomes.

        Q. McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12,
        1947. 1.0 when no episode has different outcomes.
        """
        discordant = self.only_first + self.only_second
        fewer = min(self.only_first, self.only_second)
        tail = sum(math.comb(discordant, k) for k in range(fewer + 1))
        return min(1.0, 2 * tail / 2**discordant)

    @property
    def difference(self) -> Difference:
        """Newcombe's interval for paired rates, which knows that the outcomes are correlated.

        R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired
        data", Statistics in Medicine 17, 1998, method 10.
        """
        first, second = self.first, self.second
        (low1, high1), (low2, high2) = first.interval, second.interval
        value = (self.only_first - self.only_second) / self.count
        phi = self._correlation()

        def spread(one: float, other: float) -> float:
            return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

        below = spread(first.value - low1, high2 - second.value)
        above = spread(high1 - first.value, second.value - low2)
        return Difference(value, max(-1.0, value - below), min(1.0, value + above))

    def _correlation(self) -> float:
        margins = (
            (self.both + self.only_first)
            * (self.only_second + self.neither)
            * (self.both + self.only_second)
            * (self.only_first + self.neither)
        )
        if margins == 0:
            return 0.0
        product = float(self.both * self.neither - self.only_first * self.only_second)
        if product > 0:
            product = max(product - self.count / 2, 0.0)
        return product / math.sqrt(margins)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of several tests, adjusted so that the chance of any false finding among them keeps its level.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def episodes_needed(first: float, second: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """Episodes per policy so that a two-sided test of two independent rates finds their difference.

    Normal approximation with pooled variance under the null (J. L. Fleiss, "Statistical Methods for Rates and
    Proportions", 2nd ed. 1981, formula 3.14 without continuity correction).

    Args:
        first: one true rate; second: the other; they differ.
        power: chance of finding it. level: chance of finding a difference where there is none.

    Raises:
        ValueError: equal rates, or a number outside its range.
    """
    _check_power(first, second, power, level)
    mean = (first + second) / 2
    null = _quantile(1 - level / 2) * math.sqrt(2 * mean * (1 - mean))
    alternative = _quantile(power) * math.sqrt(first * (1 - first) + second * (1 - second))
    return max(2, math.ceil(((null + alternative) / (first - second)) ** 2 - 1e-9))


def paired_episodes_needed(difference: float, discordant: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """Shared episodes so that McNemar's test finds a difference of two rates.

    Normal approximation (R. J. Connor, "Sample size for testing differences in proportions for the paired-sample
    design", Biometrics 43, 1987).

    Args:
        difference: of the two true rates.
        discordant: share of episodes with different outcomes, at least the difference's size.
        power: chance of finding it. level: chance of finding a difference where there is none.

    Raises:
        ValueError: no difference, or a number outside its range.
    """
    if not 0 < abs(difference) <= discordant <= 1:
        raise ValueError(
            f"the share of episodes with different outcomes ({discordant}) lies between the difference's size "
            f"({abs(difference)}, not 0) and 1"
        )
    _check_power(difference, 0.0, power, level)
    null = _quantile(1 - level / 2) * math.sqrt(discordant)
    alternative = _quantile(power) * math.sqrt(discordant - difference**2)
    return max(2, math.ceil(((null + alternative) / difference) ** 2 - 1e-9))


def _quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def _check_power(first: float, second: float, power: float, level: float) -> None:
    if first == second:
        raise ValueError(f"both rates are {first}: no number of episodes shows a difference that is not there")
    if not (-1 <= first <= 1 and 0 <= second <= 1):
        raise ValueError(f"rates lie in [0, 1], got {first} and {second}")
    if not (0 < level < 1 and 0.5 <= power < 1):
        raise ValueError(f"the level lies in (0, 1) and the power in [0.5, 1), got {level} and {power}")
