"""Intervals, tests and sample sizes against scipy and against the tables of the papers they come from."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm
from scipy.stats.contingency import association

from magma_eval.confidence_intervals import (
    PairedOutcomes,
    Rate,
    difference_of_rates,
    episodes_needed,
    paired_episodes_needed,
)

QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
PAIRS = st.integers(1, 500).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count)))
OUTCOMES = st.tuples(*[st.integers(0, 60)] * 4).filter(any)


@QUICK
@given(PAIRS)
def test_wilson_agrees_with_scipy(pair: tuple[int, int]) -> None:
    successes, count = pair
    expected = binomtest(successes, count).proportion_ci(confidence_level=0.95, method="wilson")
    assert Rate(successes, count).interval == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "count"), [(0, 0), (-1, 5), (6, 5)])
def test_refuses_nonsense(successes: int, count: int) -> None:
    with pytest.raises(ValueError, match="got"):
        Rate(successes, count)


def test_reads_well() -> None:
    assert str(Rate(15, 24)) == "15/24 [43, 79] %"
    assert str(difference_of_rates(Rate(56, 70), Rate(48, 80))) == "+20.0 [+5.2, +33.4] points"


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        # R. G. Newcombe 1998, Statistics in Medicine 17:873, Table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
    ],
)
def test_newcombe_gives_the_published_intervals(first: tuple, second: tuple, low: float, high: float) -> None:
    difference = difference_of_rates(Rate(*first), Rate(*second))
    assert (difference.low, difference.high) == pytest.approx((low, high), abs=5e-5)


@QUICK
@given(PAIRS, PAIRS)
def test_newcombe_from_scipys_wilson(first: tuple[int, int], second: tuple[int, int]) -> None:
    one = binomtest(*first).proportion_ci(method="wilson")
    two = binomtest(*second).proportion_ci(method="wilson")
    p1, p2 = first[0] / first[1], second[0] / second[1]
    difference = difference_of_rates(Rate(*first), Rate(*second))
    assert difference.low == pytest.approx(p1 - p2 - math.hypot(p1 - one.low, two.high - p2), abs=1e-12)
    assert difference.high == pytest.approx(p1 - p2 + math.hypot(one.high - p1, p2 - two.low), abs=1e-12)
    mirrored = difference_of_rates(Rate(*second), Rate(*first))
    assert (mirrored.low, mirrored.high) == pytest.approx((-difference.high, -difference.low), abs=1e-12)
    assert -1 - 1e-12 <= difference.low <= difference.value <= difference.high <= 1 + 1e-12


@QUICK
@given(OUTCOMES)
def test_mcnemar_agrees_with_scipys_sign_test(counts: tuple[int, int, int, int]) -> None:
    paired = PairedOutcomes(*counts)
    discordant = paired.only_first + paired.only_second
    expected = binomtest(paired.only_first, discordant, 0.5).pvalue if discordant else 1.0
    assert paired.mcnemar_p == pytest.approx(expected, abs=1e-12)


@QUICK
@given(OUTCOMES)
def test_paired_interval_is_symmetric_in_range_and_holds_the_difference(counts: tuple[int, int, int, int]) -> None:
    paired = PairedOutcomes(*counts)
    difference = paired.difference
    assert -1 <= difference.low <= difference.value + 1e-12 and difference.value - 1e-12 <= difference.high <= 1
    swapped = PairedOutcomes(paired.both, paired.only_second, paired.only_first, paired.neither).difference
    assert (swapped.low, swapped.high) == pytest.approx((-difference.high, -difference.low), abs=1e-12)


def test_paired_interval_uses_the_correlation() -> None:
    # Without continuity correction the correlation is phi (Cramér’s V of two by two); with it, smaller.
    paired = PairedOutcomes(36, 12, 2, 10)
    table = np.array([[36, 12], [2, 10]])
    phi = association(table, method="cramer")
    assert 0 < paired._correlation() < phi
    independent = difference_of_rates(paired.first, paired.second)
    assert paired.difference.low > independent.low and paired.difference.high < independent.high


def test_paired_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    probabilities = [0.35, 0.20, 0.10, 0.35]
    covered = 0
    for counts in random.multinomial(48, probabilities, size=2000):
        difference = PairedOutcomes(*map(int, counts)).difference
        covered += difference.low <= 0.10 <= difference.high
    assert 0.93 <= covered / 2000 <= 0.985


@pytest.mark.parametrize(("first", "second"), [(0.35, 0.45), (0.5, 0.7), (0.9, 0.95), (0.1, 0.3)])
def test_sample_size_has_the_power_it_promises(first: float, second: float) -> None:
    count = episodes_needed(first, second)
    successes = np.arange(count + 1)
    rates = successes / count
    mean = (rates[:, None] + rates[None, :]) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (rates[:, None] - rates[None, :]) / np.sqrt(2 * mean * (1 - mean) / count)
    found = np.abs(np.nan_to_num(z)) > norm.ppf(0.975)
    chance = binom.pmf(successes, count, first)[:, None] * binom.pmf(successes, count, second)[None, :]
    assert float((chance * found).sum()) == pytest.approx(0.8, abs=0.02)


def test_known_sample_sizes() -> None:
    assert episodes_needed(0.35, 0.45) == 376
    assert episodes_needed(0.45, 0.35) == 376
    # Connor 1987: with every discordant episode in favour of one side, few are needed.
    assert paired_episodes_needed(0.2, 0.2) < paired_episodes_needed(0.2, 0.4) < episodes_needed(0.4, 0.6)


def test_paired_sample_size_has_the_power_it_promises() -> None:
    difference, discordant = 0.15, 0.3
    count = paired_episodes_needed(difference, discordant)
    random = np.random.default_rng(1)
    first, second = (discordant + difference) / 2, (discordant - difference) / 2
    counts = random.multinomial(count, [first, second, 1 - discordant], size=20000)
    z = (counts[:, 0] - counts[:, 1]) / np.sqrt(np.maximum(counts[:, 0] + counts[:, 1], 1))
    assert np.mean(np.abs(z) > norm.ppf(0.975)) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("arguments", [(0.5, 0.5), (1.5, 0.2), (0.2, -0.1)])
def test_impossible_claims_are_refused(arguments: tuple[float, float]) -> None:
    with pytest.raises(ValueError):
        episodes_needed(*arguments)


@pytest.mark.parametrize(
    "call",
    [
        lambda: episodes_needed(0.2, 0.4, power=0.3),
        lambda: episodes_needed(0.2, 0.4, level=0.0),
        lambda: paired_episodes_needed(0.3, 0.2),
        lambda: paired_episodes_needed(0.0, 0.2),
        lambda: PairedOutcomes(0, 0, 0, 0),
        lambda: PairedOutcomes(-1, 2, 0, 0),
    ],
)
def test_misuse_is_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
