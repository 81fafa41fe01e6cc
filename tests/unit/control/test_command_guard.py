"""The last look at what goes out: nothing that breaks a limit passes, whoever made it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from arm_builders import PERIOD_S, motion, panda, panda_kinematics

from magma_control.command_guard import CODE, JointGuard, refuse_delta
from magma_control.config import ControllerConfig
from magma_control.motion.joint_motion import JointLimits

FORWARD = np.array([0.04, 0.0, 0.0, 0.0, 0.0, 0.1, 0.5])
BOX_MIDDLE = np.array([0.5, 0.0, 0.3])


def guard() -> JointGuard:
    robot, kinematics = panda(), panda_kinematics()
    limits = JointLimits(
        kinematics.max_velocity, np.array(robot.per_joint("max_acceleration")), np.array(robot.per_joint("max_jerk"))
    )
    return JointGuard(robot.joints.names, kinematics.lower, kinematics.upper, limits, PERIOD_S)


def under_way(ticks=10):
    """A guard in the middle of a motion, and the motion's next command."""
    arm, watch = motion(), guard()
    watch.begin(panda_kinematics().home)
    arm.move(FORWARD, 0.2)
    for _ in range(ticks):
        assert watch.pass_on(arm.tick()) is None
    return watch, arm.tick()


def test_a_motion_and_its_brake_pass():
    arm, watch = motion(), guard()
    watch.begin(panda_kinematics().home)
    for _ in range(4):
        arm.move(FORWARD, 0.2, FORWARD)
        for _ in range(15):
            assert watch.pass_on(arm.tick()) is None
    arm.emergency_stop()
    while not arm.at_rest:
        assert watch.pass_on(arm.tick()) is None


def test_without_a_beginning_nothing_passes():
    watch, command = guard(), motion().tick()
    assert "without a beginning" in watch.pass_on(command).text
    watch.begin(command.position)
    assert watch.pass_on(command) is None
    watch.end()
    assert watch.pass_on(command).code == CODE


def moved(command, change):
    return dataclasses.replace(command, position=command.position + change)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (np.array([0.2, 0, 0, 0, 0, 0, 0]), "speed limit of panda_joint1"),
        (np.array([0, 0, 0.005, 0, 0, 0, 0]), "acceleration limit of panda_joint3"),
        (np.array([0, 0, 0, 0, 0.0006, 0, 0]), "jerk limit of panda_joint5"),
        (np.array([0, 0, 0, np.nan, 0, 0, 0]), "not finite"),
    ],
)
def test_one_command_that_jumps_does_not_pass_and_the_stream_stays_where_it_was(change, what):
    watch, command = under_way()
    refusal = watch.pass_on(moved(command, change))
    assert what in refusal.text and refusal.sender_broken
    assert watch.pass_on(command) is None


def test_the_quick_look_passes_nothing_that_the_careful_one_refuses():
    random = np.random.default_rng(7)
    lower, upper = np.array([-1.0, -np.inf, -np.inf]), np.array([1.0, np.inf, 2.0])
    limits = JointLimits(np.array([1.0, 2.0, 3.0]), np.full(3, 10.0), np.full(3, 500.0))
    watch = JointGuard(("a", "b", "c"), lower, upper, limits, PERIOD_S)
    command, verdicts = motion().tick(), []
    for _ in range(2000):
        rows = np.full((int(random.integers(5, 30)), 3), random.uniform(-1.0, 1.9))
        order = int(random.integers(0, 4))
        change = random.uniform(0.5, 1.5) * (0.1, 0.01, 0.001, 5e-4)[order]
        rows[int(random.integers(3, len(rows))) :, int(random.integers(0, 3))] += random.choice([-change, change])
        if random.random() < 0.05:
            rows[int(random.integers(3, len(rows))), int(random.integers(0, 3))] = random.choice([np.nan, np.inf])
        with np.errstate(invalid="ignore"):
            quick, careful = watch._keeps_limits(rows), watch._refuse_rows(rows, command)
        assert careful is None or not quick
        verdicts.append((quick, careful is None))
        watch._upper = upper if random.random() < 0.5 else np.array([1.0, np.inf, np.inf])
        watch._forms.clear()
    assert set(verdicts) == {(True, True), (False, True), (False, False)}


def test_a_brake_is_looked_at_too():
    watch, command = under_way()
    late = command.brake_positions.copy()
    late[3, 2] += 0.01
    assert "panda_joint3" in watch.pass_on(dataclasses.replace(command, brake_positions=late)).text
    moving = command.brake_velocities.copy()
    moving[-1, 0] = 0.1
    assert "does not end at rest" in watch.pass_on(dataclasses.replace(command, brake_velocities=moving)).text


def test_a_joint_out_of_its_range_may_come_back_and_go_no_farther():
    watch, command = guard(), motion().tick()
    place = panda_kinematics().home.copy()
    place[0] = panda_kinematics().upper[0] + 0.02
    for step, passes in ((-1e-6, True), (1e-6, False)):
        watch.begin(place)
        there = place + np.array([step, 0, 0, 0, 0, 0, 0])
        row = dataclasses.replace(command, position=there, brake_positions=there[None])
        assert (watch.pass_on(row) is None) == passes


def test_a_stopped_stream_begins_again_only_where_it_is_told():
    watch, command = under_way()
    watch.end()
    watch.begin(panda_kinematics().home)
    assert watch.pass_on(command) is not None, "it is under way, and the stream begins at rest"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"delta": (np.nan, 0, 0, 0, 0, 0, 1)}, "not finite"),
        ({"delta": (0.081, 0, 0, 0, 0, 0, 1)}, "its step is 0.081 m"),
        ({"delta": (0, 0, 0, 0.51, 0, 0, 1)}, "its step is 0.51 rad"),
        ({"delta": (0, 0, 0, 0, 0, 0, 1.01)}, "gripper opening is 1.01"),
        ({"config": ControllerConfig(bring_up_scale=0.1)}, "0.008 m is allowed"),
        ({"targets": (BOX_MIDDLE, np.array([0.84, 0, 0.3]))}, "out of the workspace"),
        ({"targets": (np.array([0.9, 0, 0.3]),)}, "out of the workspace"),
        ({"targets": (np.array([0.1, 0, 0.3]),)}, None),
        ({"since_last_s": 0.1}, "0.100 s after the last one"),
        ({"since_last_s": 0.18}, None),
    ],
)
def test_deltas(change, message):
    asked = {
        "delta": (0.02, 0, 0, 0, 0, 0, 1),
        "targets": (BOX_MIDDLE,),
        "config": ControllerConfig(),
        "since_last_s": None,
        **change,
    }
    refusal = refuse_delta(
        np.array(asked["delta"], float), *(asked[name] for name in ("targets", "config", "since_last_s"))
    )
    assert (refusal is None) if message is None else (message in refusal.text and refusal.sender_broken)
