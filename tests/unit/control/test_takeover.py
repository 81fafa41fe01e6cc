"""Taking over and handing back at random moments: no step in position, a bounded one in speed.

`tests/benchmarks/takeover.py` measures the same over a thousand moments.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_path = Path(__file__).resolve().parents[2] / "benchmarks" / "takeover.py"
_spec = importlib.util.spec_from_file_location("takeover_benchmark", _path)
takeover = importlib.util.module_from_spec(_spec)


@pytest.fixture(scope="module", autouse=True)
def benchmark_module():
    # dataclasses look their module up by its name.
    import sys

    sys.modules[_spec.name] = takeover
    _spec.loader.exec_module(takeover)
    yield
    del sys.modules[_spec.name]


@pytest.mark.parametrize(("arm", "moments"), [("delta", 100), ("joints", 6)])
def test_changes_of_hands_are_smooth(arm, moments):
    extremes, allowed, changes = takeover.measure(arm, moments, seed=1)
    assert changes == moments
    for name, value in extremes.near.items():
        assert 0.0 < value <= allowed[name] * (1.0 + 1e-6), (name, value, allowed[name])
