"""Every limit holds from each command to the next, at both levels: a little of `tests/benchmarks/command_stream.py`.

MAGMA_PROPERTY_CASES=1000000 plays a million ticks.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

TICKS = int(os.environ.get("MAGMA_PROPERTY_CASES", "2400"))

_path = Path(__file__).resolve().parents[2] / "benchmarks" / "command_stream.py"
_spec = importlib.util.spec_from_file_location("command_stream_benchmark", _path)
command_stream = importlib.util.module_from_spec(_spec)


@pytest.fixture(scope="module", autouse=True)
def benchmark_module():
    # dataclasses look their module up by its name.
    sys.modules[_spec.name] = command_stream
    _spec.loader.exec_module(command_stream)
    yield
    del sys.modules[_spec.name]


def test_joints():
    tally = command_stream.joint_stream(TICKS, seed=11)
    assert not tally.violations, str(tally)
    assert tally.commands > TICKS / 10 and tally.streams > 3


def test_deltas():
    tally = command_stream.delta_stream(5 * TICKS, seed=3)
    assert not tally.violations, str(tally)
    assert tally.commands > TICKS / 20


def test_it_would_be_seen():
    """The looker itself: a step, a change of speed and a change of acceleration that are too large."""
    limits = (np.full(2, 1.0), np.full(2, 10.0), np.full(2, 100.0))
    for positions, what in (
        ([0.0, 0.5], "joint speed"),
        ([0.0, 0.005], "joint acceleration"),
        ([0.0, 0.0004], "joint jerk"),
        ([0.0, 2.5], "joint range"),
        ([0.0, float("nan")], "not finite"),
    ):
        watch = command_stream.Watch(np.full(2, -2.0), np.full(2, 2.0), limits, 0.01)
        watch.begin(np.zeros(2))
        assert watch.see(np.full(2, positions[0])) == []
        assert what in watch.see(np.array([0.0, positions[1]]))
