"""Taking over and handing back at random moments: no step in position, a bounded one in speed.

`tests/benchmarks/takeover.py` measures the same over a thousand moments.
"""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def takeover(load_benchmark):
    return load_benchmark("takeover")


@pytest.mark.parametrize(("arm", "moments"), [("delta", 100), ("joints", 6)])
def test_changes_of_hands_are_smooth(takeover, arm, moments):
    extremes, allowed, changes = takeover.measure(arm, moments, seed=1)
    assert changes == moments
    for name, value in extremes.near.items():
        assert 0.0 < value <= allowed[name] * (1.0 + 1e-6), (name, value, allowed[name])
