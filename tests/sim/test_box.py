"""The arm's own target stays in the box when its reports are late: a little of `tests/benchmarks/box.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_path = Path(__file__).resolve().parents[1] / "benchmarks" / "box.py"
_spec = importlib.util.spec_from_file_location("box_benchmark", _path)
box = importlib.util.module_from_spec(_spec)


@pytest.fixture(scope="module", autouse=True)
def benchmark_module():
    # dataclasses look their module up by its name.
    sys.modules[_spec.name] = box
    _spec.loader.exec_module(box)
    yield
    del sys.modules[_spec.name]


@pytest.mark.parametrize("delay_s", [0.0, 0.2])
def test_an_operator_against_the_faces_of_the_box(delay_s):
    result = box.play(60, delay_s, seed=2)
    assert result.outside == 0, f"by {result.worst_m * 1e3:.1f} mm"
    assert result.clipped > 10, "it was pushed against a face"
