"""The small parts of the controller: gripper rule, heartbeats, watchdog, loop account, joint reports."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from arm_builders import panda

from magma_control.channels.heartbeat import Heartbeat
from magma_control.gripper import GripperFilter, GripperRule
from magma_control.motion.joint_states import JointReading, JointStateReader
from magma_control.runtime.loop import FixedRateLoop, LoopStatistics
from magma_control.runtime.watchdog import Watchdog
from magma_control.safety import Refusal


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
    names = panda().joints.names
    finger = "panda_finger_joint1"

    @pytest.fixture
    def reader(self):
        return JointStateReader(panda(), others=("lift",))

    def test_any_order_and_other_joints(self, reader):
        names = ["lamp", self.finger, *reversed(self.names)]
        reading = reader.read(names, [9.0, 0.02, *range(7)])
        assert isinstance(reading, JointReading)
        assert reading.positions.tolist() == [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
        assert reading.opening == pytest.approx(0.5)
        assert "lamp" not in reading.others

    def test_what_was_never_reported_is_unknown(self, reader):
        reading = reader.read(self.names, [0.0] * 7)
        assert reading.opening is None and reading.others == {}

    def test_joints_that_are_reported_apart_are_brought_together(self, reader):
        assert reader.read([self.finger], [0.01], 5, 0.0) is None
        assert reader.read(["lift"], [0.3], 6, 0.1) is None
        reading = reader.read(self.names, [0.0] * 7, 7, 0.2)
        assert reading.opening == pytest.approx(0.25) and reading.others["lift"] == 0.3 and reading.stamp_ns == 7

    def test_what_was_said_too_long_ago_is_unknown_again(self, reader):
        reader.read([self.finger, "lift"], [0.01, 0.3], 5, 0.0)
        reader.read(["lift"], [0.3], 5, 0.9)
        reading = reader.read(self.names, [0.0] * 7, 7, 1.5, longest_age_s=1.0)
        assert reading.opening is None and reading.others == {"lift": 0.3}

    def test_an_arm_in_two_messages_is_complete_once_per_round(self, reader):
        first, second = self.names[:3], self.names[3:]
        reader.read(first, [1.0] * 3, 10, 0.0)
        assert reader.read(second, [1.0] * 4, 11, 0.001).stamp_ns == 10
        assert reader.read(first, [2.0] * 3, 20, 0.01) is None
        assert reader.read(first, [3.0] * 3, 30, 0.02) is None
        reading = reader.read(second, [4.0] * 4, 31, 0.021)
        assert reading.positions.tolist() == [3.0] * 3 + [4.0] * 4 and reading.stamp_ns == 30

    def test_an_arm_of_which_a_part_falls_silent_is_incomplete(self, reader):
        reader.read(self.names, [0.0] * 7, 1, 0.0)
        assert reader.read(self.names[:6], [0.0] * 6, 2, 0.1) is None
        for seconds in (0.3, 1.0, 5.0):
            refusal = reader.read(self.names[:6], [0.0] * 6, 3, seconds)
            assert refusal.text == "joint state lacks panda_joint7"
        # What the others said long ago does not become a reading with what the last one says now.
        assert reader.read(self.names[6:], [0.0], 4, 9.0).code == "joint state incomplete"

    @pytest.mark.parametrize(
        ("names", "positions"),
        [
            (["wheel"], []),
            (["wheel"], [float("nan")]),
            (["wheel", "caster"], [1.0]),
            ([], []),
            (["wheel", "wheel"], [1.0, 2.0]),
            (["panda_joint1"], []),
            (["panda_finger_joint1"], [float("inf")]),
            (["lift", "wheel"], [1.0]),
        ],
    )
    def test_what_says_nothing_about_the_arm_is_nobody_s_trouble(self, reader, names, positions):
        assert reader.read(names, positions) is None
        assert isinstance(reader.read(self.names, [0.0] * 7), JointReading)

    @pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
    def test_a_gripper_without_a_reading_is_unknown(self, reader, wrong):
        reader.read([self.finger], [0.02])
        assert reader.read([*self.names, self.finger], [0.0] * 7 + [wrong]).opening is None

    def test_a_gripper_named_twice_is_unknown(self, reader):
        assert reader.read([*self.names, self.finger, self.finger], [0.0] * 7 + [0.01, 0.03]).opening is None

    @pytest.mark.parametrize(
        ("names", "positions", "code"),
        [
            (names[:6], [0.0] * 6, "joint state incomplete"),
            (names, [0.0] * 6, "joint state makes no sense"),
            (names, [0.0] * 6 + [float("inf")], "joint state makes no sense"),
            ((*names, names[2]), [0.0] * 8, "joint named twice"),
            ((*names, "lamp", names[2]), [0.0] * 9, "joint named twice"),
        ],
    )
    def test_what_is_refused(self, reader, names, positions, code):
        refusal = reader.read(names, positions)
        assert isinstance(refusal, Refusal) and refusal.code == code
        assert isinstance(reader.read(self.names, [0.0] * 7), JointReading)
