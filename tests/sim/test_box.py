"""The arm's own target stays in the box when its reports are late: a little of `tests/benchmarks/box.py`."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def box(load_benchmark):
    return load_benchmark("box")


@pytest.mark.parametrize("delay_s", [0.0, 0.2])
def test_an_operator_against_the_faces_of_the_box(box, delay_s):
    result = box.play(60, delay_s, seed=2)
    assert result.outside == 0, f"by {result.worst_m * 1e3:.1f} mm"
    assert result.clipped > 10, "it was pushed against a face"
