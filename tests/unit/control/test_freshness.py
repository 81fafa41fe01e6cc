"""Stamps against two clocks: one that nobody can set, and ROS time."""

import time

from control_builders import EPOCH_NS

from magma_common.process.clocks import steady_s
from magma_control.freshness import Instant, StampGate

SECOND = 10**9


def test_a_stamp_is_judged_by_the_ros_clock():
    gate, now = StampGate("frame", "frame"), Instant(5.0, EPOCH_NS)
    assert gate.refuse(EPOCH_NS - SECOND // 10, now, 0.5, 0.05) is None
    assert gate.refuse(EPOCH_NS - SECOND, now, 0.5, 0.05).code == "frame too old"
    assert gate.refuse(0, now, 0.5, 0.05).code == "frame without a stamp"
    ahead = gate.refuse(EPOCH_NS + SECOND, now, 0.5, 0.05)
    assert ahead.code == "frame from the future" and "are the clocks in step?" in ahead.text


def test_simulated_time_without_a_clock_is_the_reason_that_is_given():
    refusal = StampGate("frame", "frame").refuse(EPOCH_NS, Instant(5.0, 0), 0.5, 0.05)
    assert refusal.code == "frame from the future" and "nothing is published on /clock" in refusal.text


def test_the_steady_clock_goes_on_while_the_machine_sleeps():
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= steady_s() <= time.clock_gettime(time.CLOCK_BOOTTIME)
