"""Where an arm's target may be while commands and reports are on their way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from control_builders import at
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_control.channels.under_way import UnderWay

HOME = np.array([0.5, 0.0, 0.3])
DELAY_S = 1.0


def report(under_way, target, seconds, made_s=None):
    stamp_ns = at(seconds if made_s is None else made_s).ros_ns
    under_way.on_report(np.array(target), stamp_ns, at(seconds), DELAY_S, 2.0 * DELAY_S)


def down(millimetres):
    return np.array([0.0, 0.0, -millimetres * 1e-3])


def lowest(under_way, target=HOME):
    return float(under_way.corners(np.array(target))[0][2])


def test_a_command_counts_until_a_report_shows_it():
    under_way = UnderWay()
    report(under_way, HOME, 0.0)
    under_way.add(down(20), at(0.1))
    assert lowest(under_way) == pytest.approx(0.28)
    # Made after the command was sent, and without it: it is on its way.
    report(under_way, HOME, 0.3)
    assert lowest(under_way) == pytest.approx(0.28)
    report(under_way, HOME + down(20), 0.5)
    assert len(under_way) == 0


def test_a_command_that_was_overtaken_by_the_next_is_lost():
    under_way = UnderWay()
    report(under_way, HOME, 0.0)
    for seconds, step in ((0.1, 20), (0.2, 7), (0.3, 5)):
        under_way.add(down(step), at(seconds))
    report(under_way, HOME + down(7), 0.4)
    assert len(under_way) == 1


def test_of_equal_commands_the_oldest_is_recognised_so_that_more_stay_under_way():
    under_way = UnderWay()
    report(under_way, HOME, 0.0)
    for seconds in (0.1, 0.2, 0.3):
        under_way.add(down(20), at(seconds))
    report(under_way, HOME + down(20), 0.4)
    assert len(under_way) == 2


def test_a_lost_command_is_given_up_after_the_longest_delay():
    under_way = UnderWay()
    report(under_way, HOME, 0.0)
    under_way.add(down(20), at(0.1))
    report(under_way, HOME, 1.05)
    assert len(under_way) == 1
    # It came late, and was made before the command could be given up.
    report(under_way, HOME, 1.3, made_s=1.05)
    assert len(under_way) == 1
    report(under_way, HOME, 1.35)
    assert len(under_way) == 0


def test_a_clock_that_was_set_back_keeps_nothing_for_ever():
    under_way = UnderWay()
    under_way.add(down(20), at(100.0))
    report(under_way, HOME, 101.9, made_s=1.0)
    assert len(under_way) == 1
    report(under_way, HOME, 102.1, made_s=1.2)
    assert len(under_way) == 0


def test_a_target_that_somebody_else_moved_explains_nothing():
    under_way = UnderWay()
    report(under_way, HOME, 0.0)
    under_way.add(down(20), at(0.1))
    report(under_way, HOME + np.array([0.1, 0.0, 0.0]), 0.2)
    assert len(under_way) == 1


steps = st.tuples(*[st.integers(-20, 20)] * 3).map(lambda values: np.array(values) * 1e-3)


@settings(max_examples=150, deadline=None)
@given(
    sent=st.lists(steps, min_size=1, max_size=6),
    arrives=st.lists(st.booleans(), min_size=6, max_size=6),
    shown=st.lists(st.integers(0, 6), max_size=4).map(sorted),
)
def test_whatever_arrives_and_whatever_is_lost_the_target_lies_between_the_corners(sent, arrives, shown):
    """An arm that takes some of the commands in order and loses the others, seen at some moments on the way."""
    under_way = UnderWay()
    report(under_way, HOME, 0.0)
    for index, step in enumerate(sent):
        under_way.add(step, at(0.1 + 0.01 * index))
    target = seen = HOME
    for index, (count, following) in enumerate(itertools.pairwise([0, *shown, len(sent)])):
        for step, taken in list(zip(sent, arrives, strict=False))[count:following]:
            target = target + step * taken
        low, high = under_way.corners(seen)
        assert (target >= low - 1e-9).all() and (target <= high + 1e-9).all()
        seen = target
        report(under_way, seen, 0.2 + 0.01 * index)
