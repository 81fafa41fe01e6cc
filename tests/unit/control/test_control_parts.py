"""The small parts of the controller: gripper rule, heartbeats, watchdog, loop account, joint reports."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from arm_builders import panda

from magma_control.gripper import GripperFilter, GripperRule
from magma_control.heartbeat import Heartbeat
from magma_control.joint_states import JointReading, JointStateReader
from magma_control.loop import FixedRateLoop, LoopStatistics
from magma_control.safety import Refusal
from magma_control.watchdog import Watchdog


class TestGripper:
    def test_continuous_changes_nothing(self):
        assert GripperFilter().apply(0.37, 1.0, GripperRule()) == 0.37

    def test_hysteresis_keeps_what_flickers(self):
        rule, gripper = GripperRule(binary=True), GripperFilter()
        openings = [1.0, 0.55, 0.45, 0.39, 0.45, 0.55, 0.61, 0.5]
        assert [gripper.apply(opening, 1.0, rule) for opening in openings] == [1, 1, 1, 0, 0, 0, 1, 1]

    def test_a_change_sticks(self):
        rule, gripper = GripperRule(binary=True, sticky_steps=3), GripperFilter()
        assert [gripper.apply(opening, 1.0, rule) for opening in (1, 0, 1, 1, 1, 1)] == [1, 0, 0, 0, 1, 1]

    def test_it_begins_as_the_gripper_is(self):
        gripper, rule = GripperFilter(), GripperRule(binary=True)
        assert gripper.apply(0.5, 0.0, rule) == 0.0
        gripper.reset()
        assert gripper.apply(0.5, 1.0, rule) == 1.0


class TestHeartbeat:
    def test_never_heard_is_not_expected_unless_required(self):
        heart = Heartbeat("policy")
        assert heart.refuse(100.0, 1.0, False, 0.0) is None
        assert heart.refuse(0.5, 1.0, True, 0.0) is None
        assert heart.refuse(1.5, 1.0, True, 0.0).code == "policy without heartbeat"

    def test_heard_once_is_expected(self):
        heart = Heartbeat("policy")
        heart.beat(1.0)
        assert heart.refuse(1.9, 1.0, False, 0.0) is None
        assert "no heartbeat for 1.5 s" in heart.refuse(2.5, 1.0, False, 0.0).text


class TestWatchdog:
    def make(self):
        self.now, self.trips = 0.0, []
        dog = Watchdog(1.0, self.trips.append, lambda: self.now)
        dog.watch("executor")
        dog.watch("control loop")
        return dog

    def pass_time(self, dog, seconds, beating=()):
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            for who in beating:
                dog.beat(who)
            dog.look()

    def test_all_is_well_while_all_beat(self):
        dog = self.make()
        self.pass_time(dog, 5.0, ("executor", "control loop"))
        assert self.trips == [] and dog.tripped is None

    def test_one_that_stands_still_trips_once_and_is_named(self):
        dog = self.make()
        self.pass_time(dog, 3.0, ("control loop",))
        assert len(self.trips) == 1 and self.trips[0].startswith("executor stood still for 1.")
        assert "control loop" not in self.trips[0]
        self.pass_time(dog, 1.0, ("control loop", "executor"))
        assert dog.tripped is None

    def test_a_process_that_was_stopped_as_a_whole_is_not_blamed(self):
        dog = self.make()
        self.pass_time(dog, 1.0, ("executor", "control loop"))
        self.now += 10.0
        dog.look()
        assert self.trips == []
        self.pass_time(dog, 2.0)
        assert len(self.trips) == 1

    def test_its_thread_needs_nobody(self):
        tripped = threading.Event()
        dog = Watchdog(0.2, lambda reason: tripped.set())
        dog.watch("executor")
        dog.start()
        assert tripped.wait(60.0)
        dog.stop()


class TestLoop:
    def test_it_ticks_and_keeps_account(self):
        ticks = []
        done = threading.Event()

        def work() -> None:
            ticks.append(1)
            if len(ticks) == 5:
                done.set()

        loop = FixedRateLoop(0.002, work, "test")
        loop.start()
        assert done.wait(60.0)
        loop.stop()
        report = loop.statistics.report()
        assert report.ticks >= 5
        assert report.late_p50_ms >= 0.0 and report.work_max_ms >= report.work_p50_ms
        count = len(ticks)
        assert not threading.Event().wait(0.02) and len(ticks) == count

    def test_misses_are_counted(self):
        statistics = LoopStatistics()
        assert np.isnan(statistics.report().late_p50_ms)
        statistics.add(0.001, 0.002, 0)
        statistics.add(0.001, 0.002, 3)
        assert (statistics.report().ticks, statistics.report().missed) == (2, 3)


class TestJointStates:
    reader = JointStateReader(panda())
    names = panda().joints.names

    def test_any_order_and_other_joints(self):
        names = ["lamp", "panda_finger_joint1", *reversed(self.names)]
        reading = self.reader.read(names, [9.0, 0.02, *range(7)])
        assert isinstance(reading, JointReading)
        assert reading.positions.tolist() == [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
        assert reading.opening == pytest.approx(0.5)

    def test_a_report_about_others_is_nobody_s(self):
        assert self.reader.read(["panda_finger_joint1"], [0.01]) is None

    def test_without_the_gripper_its_opening_is_unknown(self):
        assert self.reader.read(self.names, [0.0] * 7).opening is None

    @pytest.mark.parametrize(
        ("names", "positions", "code"),
        [
            (names[:6], [0.0] * 6, "joint state incomplete"),
            (names, [0.0] * 6, "joint state makes no sense"),
            (names, [0.0] * 6 + [float("inf")], "joint state makes no sense"),
            ((*names, "panda_finger_joint1"), [0.0] * 7 + [float("nan")], "joint state makes no sense"),
        ],
    )
    def test_what_is_refused(self, names, positions, code):
        refusal = self.reader.read(names, positions)
        assert isinstance(refusal, Refusal) and refusal.code == code
