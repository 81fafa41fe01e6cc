"""Every limit holds from each command to the next, at both levels: a little of `tests/benchmarks/command_stream.py`.

MAGMA_PROPERTY_CASES=1000000 plays a million ticks.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

TICKS = int(os.environ.get("MAGMA_PROPERTY_CASES", "2400"))


@pytest.fixture(scope="module")
def command_stream(load_benchmark):
    return load_benchmark("command_stream")


def test_joints(command_stream):
    tally = command_stream.joint_stream(TICKS, seed=11)
    assert not tally.violations, str(tally)
    assert tally.commands > TICKS / 10 and tally.streams > 3


def test_deltas(command_stream):
    tally = command_stream.delta_stream(5 * TICKS, seed=3)
    assert not tally.violations, str(tally)
    assert tally.commands > TICKS / 20


def test_it_would_be_seen(command_stream):
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
