"""Several reports that agree are believed, one is not."""

from __future__ import annotations

import numpy as np
import pytest
from control_builders import at

from magma_control.channels.agreement import ONE_REPORT, Confirmation, ReportAgreement

HERE, THERE = np.zeros(3), np.array([0.6, 0.0, 0.0])


def made(confirmation=None):
    return ReportAgreement(confirmation or Confirmation(), still=0.005, jump=0.03, top_speed=1.0)


def feed(agreement, places, period_s=0.01, start_s=0.0):
    return [
        agreement.add(np.array(place), start_s + period_s * k, at(start_s + period_s * k).ros_ns)
        for k, place in enumerate(places)
    ]


def test_five_reports_over_fifty_milliseconds():
    agreement = made()
    feed(agreement, [HERE] * 5)
    assert agreement.confirmed is None, "five, but over 40 ms"
    feed(agreement, [HERE], start_s=0.05)
    assert agreement.confirmed is not None
    slow = made()
    feed(slow, [HERE] * 4, period_s=0.1)
    assert slow.confirmed is None, "long enough, but four"
    feed(slow, [HERE], start_s=0.4)
    assert np.array_equal(slow.confirmed, HERE)


def test_an_arm_that_moves_does_not_stand():
    agreement = made()
    feed(agreement, [HERE + 0.002 * k for k in range(50)])
    assert agreement.confirmed is None and not agreement.contradicting


def test_the_same_report_again_and_again_is_one():
    agreement = made()
    for k in range(20):
        agreement.add(HERE, 0.01 * k, at(0.0).ros_ns)
    assert agreement.confirmed is None


def test_an_arm_that_was_put_elsewhere_is_believed_as_soon_as_its_reports_agree():
    agreement = made()
    feed(agreement, [HERE] * 10)
    assert feed(agreement, [THERE], start_s=0.1) == [True]
    assert agreement.confirmed is None
    feed(agreement, [THERE] * 5, start_s=0.11)
    assert np.array_equal(agreement.confirmed, THERE) and not agreement.contradicting


@pytest.mark.parametrize("order", [[HERE, THERE] * 40, [HERE] * 30 + [THERE] + [HERE] * 30, [HERE, HERE, THERE] * 30])
def test_reports_that_contradict_each_other_confirm_nothing(order):
    agreement = made()
    feed(agreement, order)
    assert agreement.contradicting and agreement.confirmed is None


def test_after_a_contradiction_quiet_for_a_second_is_asked_for():
    agreement = made()
    feed(agreement, [HERE, THERE, HERE, THERE])
    feed(agreement, [HERE] * 60, start_s=0.04)
    assert agreement.confirmed is None
    feed(agreement, [HERE] * 60, start_s=0.64)
    assert np.array_equal(agreement.confirmed, HERE)


def test_reports_that_were_held_up_are_no_jump():
    agreement = made()
    for k in range(10):
        assert not agreement.add(HERE + 0.05 * k, 1.0, at(0.05 * k).ros_ns)


def test_a_world_that_waits_is_believed_at_once():
    agreement = made(ONE_REPORT)
    agreement.add(HERE, 0.0, 1)
    assert agreement.confirmed is not None
    agreement.add(THERE, 0.0, 2)
    assert np.array_equal(agreement.confirmed, THERE)


def test_what_was_forgotten_does_not_count():
    agreement = made()
    feed(agreement, [HERE] * 10)
    agreement.forget()
    assert agreement.confirmed is None and not agreement.add(THERE, 0.2, at(0.2).ros_ns)
