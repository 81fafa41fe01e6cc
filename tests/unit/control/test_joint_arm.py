"""A joint-level arm between its reports, the controller's core and its driver: what is believed, and what is sent."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from arm_builders import PERIOD_S, LimitChecker, RecordingDriver, RecordingGripper, panda, panda_kinematics
from control_builders import EPOCH_NS, spec

from magma_contracts.actions import ActionChunk, EndEffectorDelta
from magma_control.config import ControllerConfig
from magma_control.controller import Controller
from magma_control.freshness import Instant
from magma_control.joint_arm import JointArm, make_joint_motion
from magma_control.phases import Phase

NAMES = list(panda().joints.names)
FINGER = "panda_finger_joint1"
HOME = panda_kinematics().home
FORWARD = (0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class Bench:
    """An arm that follows perfectly, its reports, and an operator."""

    def __init__(self, **settings):
        self.config = ControllerConfig(arm="joint_trajectory", robot="panda", **settings)
        self.now = Instant(0.0, EPOCH_NS)
        self.core = Controller(self.config, self.now)
        self.core.on_instruction("go")
        self.core.on_spec(spec(), self.now)
        self.driver, self.gripper = RecordingDriver(), RecordingGripper()
        motion = make_joint_motion(panda(), panda_kinematics(), self.config)
        waits = self.config.tick_source == "joint_states"
        self.arm = JointArm(panda(), panda_kinematics(), motion, self.driver, self.gripper, waits=waits)
        self.place = HOME.copy()
        self.opening_m: float | None = 0.04
        self.state = None

    def report(self, names=None, positions=None, place=None):
        place = self.place if place is None else place
        if names is None:
            names, positions = list(NAMES), list(place)
            if self.opening_m is not None:
                names, positions = [*names, FINGER], [*positions, self.opening_m]
        state = self.arm.on_joint_state(names, positions, self.now.ros_ns, self.now, self.core)
        if state is not None:
            self.state = state
            self.core.on_state(state, self.now)
        return state

    def work(self):
        command = self.core.tick(self.now)
        self.arm.apply(command, self.core)
        before = len(self.driver.sent)
        self.arm.advance(self.core)
        for sent in self.driver.sent[before:]:
            self.place = sent.position

    def tick(self, count=1, place=None):
        for _ in range(count):
            self.now = Instant(self.now.steady_s + PERIOD_S, self.now.ros_ns + round(PERIOD_S * 1e9))
            self.report(place=place)
            self.work()

    def press(self, delta=FORWARD):
        return self.core.on_operator(EndEffectorDelta(np.array(delta), self.now.ros_ns, "base", "keys"), self.now)

    @property
    def reason(self):
        return self.core.report(self.now).reason

    @property
    def counts(self):
        return self.core.report(self.now).counts


@pytest.fixture
def bench():
    made = Bench()
    made.tick(10)
    return made


def test_a_stream_begins_where_five_reports_agree_and_sends_nothing_before_somebody_moves_it():
    bench = Bench()
    bench.tick(4)
    assert not bench.arm.motion.synchronised
    assert "agree about where the arm stands" in bench.reason
    bench.tick(10)
    assert bench.arm.motion.synchronised and not bench.driver.sent
    bench.press()
    bench.tick(60)
    assert bench.place[1] != HOME[1] and bench.driver.violation is None


def test_in_lock_step_one_report_is_enough():
    bench = Bench(tick_source="joint_states", min_command_interval_s=0.0)
    bench.tick(1)
    assert bench.arm.motion.synchronised


@pytest.mark.parametrize("jump", [0.04, 0.2, 1.0, -2.0])
@pytest.mark.parametrize("during", ["rest", "brake", "motion"])
def test_one_wrong_report_moves_nothing(jump, during):
    bench, checker = Bench(), LimitChecker()
    bench.tick(10)
    checker.begin(HOME)
    if during != "rest":
        bench.press()
        bench.tick(10)
    if during == "brake":
        bench.core.hand_back(bench.now)
        bench.tick(2)
    wrong = bench.place.copy()
    wrong[0] += jump
    bench.tick(1, place=wrong)
    bench.tick(30)
    for command in bench.driver.sent:
        checker.check(command)
    assert bench.driver.violation is None
    if during != "motion":
        assert bench.core.phase is not Phase.FAULT, "nobody wanted it to move"


def test_two_publishers_hold_it_and_are_named():
    bench = Bench()
    other = HOME + np.array([0.6, 0, 0, 0, 0, 0, 0])
    for _ in range(40):
        bench.tick(1, place=other)
        bench.tick(1, place=HOME)
        bench.press()
    assert not bench.driver.sent
    assert "two publishers on joint_states" in bench.reason


def test_an_arm_moved_by_hand_is_not_sent_back(bench):
    bench.press()
    bench.tick(80)
    moved = bench.place + 0.1
    sent = len(bench.driver.sent)
    bench.tick(4, place=moved)
    assert len(bench.driver.sent) == sent, "it is not told to be where it was left"
    bench.place = moved
    bench.tick(10)
    assert bench.arm.motion.counts["moved by someone else"] == 1
    bench.press()
    bench.tick(5)
    assert np.abs(bench.driver.sent[-1].position - moved).max() < 0.02
    assert bench.driver.violation is None


@pytest.mark.parametrize(
    ("names", "positions"),
    [
        ([*NAMES, FINGER], [np.nan] * 7 + [0.04]),
        ([*NAMES, FINGER], [*HOME[:6], np.inf, 0.04]),
        ([*NAMES, NAMES[0]], [*HOME, HOME[0] + 1.0]),
        (NAMES, HOME[:6].tolist()),
    ],
    ids=["not read yet", "infinite", "a joint twice", "too few"],
)
def test_a_senseless_report_latches_only_an_arm_that_is_to_move(bench, names, positions):
    bench.report(names, positions)
    bench.work()
    assert bench.core.phase is Phase.HOLD
    assert bench.press() is None
    bench.work()
    assert not any(command.velocity.any() for command in bench.driver.sent), "where it is is not known"
    bench.tick(3)
    assert bench.core.phase is Phase.TELEOP
    bench.report(names, positions)
    assert bench.core.phase is Phase.FAULT


def test_what_other_devices_say_is_nobody_s_trouble(bench):
    bench.press()
    for names, positions in ((["wheel"], []), (["wheel"], [np.nan]), ([], []), ([FINGER], [np.nan])):
        assert bench.report(names, positions) is None
        bench.tick(1)
    assert bench.core.phase is Phase.TELEOP and bench.counts.get("joint state makes no sense", 0) == 0


OTHERS = {
    "wheels": (["wheel_left", "wheel_right"], [1.0, 2.0]),
    "wheels, not finite": (["wheel_left", "wheel_right"], [np.nan, np.inf]),
    "wheels, fewer positions": (["wheel_left", "wheel_right"], [1.0]),
    "one wheel twice": (["wheel", "wheel"], [1.0, 2.0]),
    "positions without names": ([], [1.0, 2.0]),
    "names without letters": ([""] * 7, [9.0] * 7),
    "another arm of the same make": ([f"left_{name}" for name in NAMES], [9.0] * 7),
    "letters that look alike": ([name.replace("a", "\u0430") for name in NAMES], [9.0] * 7),
    "ten thousand others": ([f"joint_{number}" for number in range(10_000)], [0.0] * 10_000),
    "this arm beside a broken wheel": ([*NAMES, "wheel"], [*HOME, np.nan]),
    "this arm in another order": (NAMES[::-1], HOME[::-1]),
    "the gripper, not finite": ([FINGER], [np.inf]),
    "the gripper, absurd": ([FINGER], [-1e300]),
    "the gripper twice": ([FINGER, FINGER], [0.0, 0.04]),
    "the finger that follows": (["panda_finger_joint2"], [0.0]),
    "half of the arm": (NAMES[:3], HOME[:3]),
    "one joint, elsewhere": (NAMES[:1], [HOME[0] + 1.0]),
}
WRONG = {
    "a position too many": (NAMES, [*HOME, 0.0]),
    "absurd": (NAMES, [1e300] * 7),
    "one absurd": (NAMES, [*HOME[:6], -1e300]),
    "an encoder that wrapped": (NAMES, [HOME[0] + 2.0 * np.pi, *HOME[1:]]),
    "whole numbers": (NAMES, [0] * 7),
    "yes and no": (NAMES, [True] * 7),
    "one joint, not finite": (NAMES[:1], [np.nan]),
}


@pytest.mark.parametrize("told", [*OTHERS, *WRONG])
@pytest.mark.parametrize("during", ["rest", "brake", "motion"])
def test_no_foreign_or_senseless_report_breaks_a_limit_or_latches_an_arm_that_nobody_moves(told, during):
    names, positions = (OTHERS | WRONG)[told]
    bench, checker = Bench(), LimitChecker()
    bench.tick(10)
    checker.begin(HOME)
    if during != "rest":
        bench.press()
        bench.tick(5)
    if during == "brake":
        bench.core.hand_back(bench.now)
    for _ in range(2):
        bench.report(list(names), list(positions))
        bench.tick(1)
    bench.tick(8)
    for command in bench.driver.sent:
        checker.check(command)
    assert bench.driver.violation is None
    moving = Phase.TELEOP if told in OTHERS else Phase.FAULT
    assert bench.core.phase is (moving if during == "motion" else Phase.HOLD)


class TestGripper:
    def test_an_opening_that_nobody_measured_is_nobody_s_to_repeat(self):
        bench = Bench()
        bench.opening_m = None
        bench.tick(10)
        assert not bench.arm.gripper_is_known
        bench.report([FINGER], [0.0])
        bench.tick(1)
        assert bench.arm.gripper_is_known and bench.state.gripper == 0.0 and bench.state.gripper_target == 0.0
        bench.press((0, 0, 0, 0, 0, 0, bench.state.gripper_target))
        bench.tick(30)
        assert set(bench.gripper.sent) == {0.0}

    def test_one_that_is_not_measured_any_more_is_unknown(self, bench):
        bench.opening_m = None
        bench.tick(90)
        assert bench.arm.gripper_is_known
        bench.tick(20)
        assert not bench.arm.gripper_is_known

    def test_what_somebody_asks_for_is_done_all_the_same(self):
        bench = Bench()
        bench.opening_m = None
        bench.tick(10)
        bench.press((0, 0, 0, 0, 0, 0, 0.3))
        bench.tick(5)
        assert bench.gripper.sent == [0.3]


def jumps(bench, monkeypatch):
    """A mistake in the stage itself: its commands are somewhere else."""
    tick = bench.arm.motion.tick

    def wrong(stamp_ns):
        command = tick(stamp_ns)
        return dataclasses.replace(command, position=command.position + 0.3)

    monkeypatch.setattr(bench.arm.motion, "tick", wrong)


class TestGuard:
    def test_a_command_that_breaks_a_limit_is_a_fault_and_the_arm_brakes(self, bench, monkeypatch):
        bench.press()
        bench.tick(8)
        tick = bench.arm.motion.tick
        monkeypatch.setattr(
            bench.arm.motion,
            "tick",
            lambda stamp: (lambda c: dataclasses.replace(c, position=c.position + 0.3))(tick(stamp)),
        )
        sent = len(bench.driver.sent)
        bench.work()
        assert bench.core.phase is Phase.FAULT and "speed limit" in bench.reason
        assert len(bench.driver.sent) == sent and bench.driver.stopped

    def test_it_latches_in_hold_too(self, bench, monkeypatch):
        bench.press()
        bench.tick(8)
        bench.core.hand_back(bench.now)
        bench.tick(1)
        assert bench.core.phase is Phase.HOLD
        tick = bench.arm.motion.tick
        monkeypatch.setattr(
            bench.arm.motion,
            "tick",
            lambda stamp: (lambda c: dataclasses.replace(c, position=c.position + 0.3))(tick(stamp)),
        )
        bench.work()
        assert bench.core.phase is Phase.FAULT

    def test_an_error_of_our_own_is_no_silence(self, bench, monkeypatch):
        bench.press()
        bench.tick(8)

        def fails(stamp):
            raise ZeroDivisionError

        monkeypatch.setattr(bench.arm.motion, "tick", fails)
        with pytest.raises(ZeroDivisionError):
            bench.work()
        assert bench.driver.stopped


class TestLateAnswers:
    """A policy that answers 0.4 s after it looked; the goal of the arm's path is what a delta is added to."""

    def answer(self, bench, captured, delta):
        chunk = ActionChunk(np.array([delta]), captured.ros_ns, 0.2, "test", "go", 0)
        assert bench.core.on_chunk(chunk, bench.now) is None

    def goal(self, bench):
        return bench.arm.motion.goal[0]

    def late(self, bench):
        """Two answers to frames that were taken before the first was executed; the goal when they were taken."""
        bench.core.reconfigure(dataclasses.replace(bench.config, max_frame_age_s=2.0))
        captured, before = bench.now, self.goal(bench)
        bench.tick(20)
        self.answer(bench, captured, FORWARD)
        bench.tick(20)
        self.answer(bench, Instant(0.0, captured.ros_ns + 1), (0.0, 0.03, 0.0, 0.0, 0.0, 0.2, 0.0))
        return before

    def test_they_lead_from_where_the_goal_was_at_the_capture(self, bench):
        before = self.late(bench)
        bench.tick(20)
        np.testing.assert_allclose(self.goal(bench) - before, [0.0, 0.03, 0.0], atol=1e-9)
        assert bench.counts["late answer: commanded since"] == 1
        assert bench.driver.violation is None

    def test_what_the_arm_gave_up_was_not_done(self, bench):
        """The first motion is broken off half-way; the second answer makes up for what was done of it only."""
        bench.core.reconfigure(dataclasses.replace(bench.config, max_frame_age_s=2.0))
        captured, before = bench.now, self.goal(bench)
        bench.tick(20)
        self.answer(bench, captured, FORWARD)
        bench.tick(5)
        bench.arm.motion.hold()
        bench.tick(40)
        done = self.goal(bench) - before
        assert 0.0 < done[0] < 0.019
        self.answer(bench, Instant(0.0, captured.ros_ns + 1), (0.0, 0.03, 0.0, 0.0, 0.0, 0.0, 0.0))
        bench.tick(20)
        np.testing.assert_allclose(self.goal(bench) - before, [0.0, 0.03, 0.0], atol=1e-6)
