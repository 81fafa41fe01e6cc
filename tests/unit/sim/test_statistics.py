"""Wilson's interval against scipy."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from magma_sim.statistics import Rate


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 500).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_agrees_with_scipy(pair: tuple[int, int]) -> None:
    successes, count = pair
    expected = binomtest(successes, count).proportion_ci(confidence_level=0.95, method="wilson")
    assert Rate(successes, count).interval == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "count"), [(0, 0), (-1, 5), (6, 5)])
def test_refuses_nonsense(successes: int, count: int) -> None:
    with pytest.raises(ValueError, match="got"):
        Rate(successes, count)


def test_reads_well() -> None:
    assert str(Rate(15, 24)) == "15/24 [43, 79] %"
