"""The motion of a joint-level arm: it arrives, it stops, it gives up with a reason, and it never jumps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from arm_builders import BOX, PERIOD_S, LimitChecker, motion, panda_kinematics

from magma_contracts.geometry.rotations import axis_angle_from_matrix, matrix_from_quaternion
from magma_control.motion.arm_motion import GOAL_INSET_M, ArmMotion
from magma_control.motion.joint_motion import JointLimits, JointState, JointTracker

GOLDEN = Path(__file__).parent / "golden" / "panda_motion.json"
FORWARD = np.array([0.03, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])


def run(arm: ArmMotion, ticks: int) -> np.ndarray:
    """Tool positions (ticks, 3)."""
    return np.array([arm.tick().tool_position for _ in range(ticks)])


def test_a_step_is_travelled_in_its_period():
    arm = motion()
    start, _ = panda_kinematics().forward(panda_kinematics().home)
    assert arm.move(FORWARD, 0.2) == ()
    positions = run(arm, 100)
    assert positions[17] == pytest.approx(start + FORWARD[:3], abs=6e-3)
    assert positions[-1] == pytest.approx(start + FORWARD[:3], abs=2e-4)
    assert arm.at_rest
    assert not arm.counts


def test_a_rotation_turns_the_tool_about_itself():
    arm = motion()
    position, quaternion = arm.goal
    arm.move(np.array([0, 0, 0, 0, 0, 0.3, 1.0]), 0.2)
    positions = run(arm, 60)
    assert positions == pytest.approx(np.tile(position, (60, 1)), abs=3e-3)
    reached = matrix_from_quaternion(arm.tick().tool_quaternion_xyzw)
    turned = axis_angle_from_matrix(reached @ matrix_from_quaternion(quaternion).T)
    assert turned == pytest.approx([0.0, 0.0, 0.3], abs=2e-3)


def test_the_steps_of_a_chunk_flow_into_each_other():
    """With the step after it known, the arm does not stop at a goal."""
    speeds = {}
    for known in (False, True):
        arm = motion()
        path = []
        for step in range(5):
            arm.move(FORWARD * 0.7, 0.2, FORWARD * 0.7 if known and step < 4 else None)
            path.append(run(arm, 20))
        speed = np.linalg.norm(np.diff(np.concatenate(path), axis=0), axis=1) / PERIOD_S
        speeds[known] = speed[30:90].min()
        assert not arm.counts
    assert speeds[True] > 0.07
    assert speeds[False] < 0.02


def test_without_a_successor_it_slows_down_within_its_limits_and_holds():
    arm, checker = motion(), LimitChecker()
    checker.begin(panda_kinematics().home)
    arm.move(FORWARD, 0.2, FORWARD)
    for _ in range(100):
        checker.check(arm.tick())
    assert arm.at_rest
    place = arm.state.position.copy()
    for _ in range(10):
        assert np.array_equal(arm.tick().position, place)


def test_a_change_of_mind_in_motion_is_no_step():
    """What a take-over does: the old goal is given up, the new one begins from where the arm is."""
    arm, checker = motion(), LimitChecker()
    checker.begin(panda_kinematics().home)
    arm.move(FORWARD * 1.5, 0.2)
    for _ in range(8):
        checker.check(arm.tick())
    arm.hold()
    arm.move(np.array([-0.01, 0.01, 0, 0, 0, 0, 0.0]), 0.2)
    last = checker.positions[-1]
    command = arm.tick()
    checker.check(command)
    limit = np.array(panda_kinematics().max_velocity) * PERIOD_S
    assert (np.abs(command.position - last) < limit).all()
    for _ in range(60):
        checker.check(arm.tick())
    assert arm.at_rest


def test_an_emergency_stop_follows_the_brake_that_was_sent():
    arm = motion()
    arm.move(FORWARD * 2, 0.2)
    for _ in range(8):
        command = arm.tick()
    assert np.linalg.norm(command.velocity) > 0.1
    arm.emergency_stop()
    for row in range(len(command.brake_positions)):
        assert arm.tick().position == pytest.approx(command.brake_positions[row], abs=1e-12)
    assert arm.at_rest


def test_the_box_cuts_goals_and_the_table_is_part_of_it():
    arm = motion(dataclasses.replace(BOX, table_height_m=0.05, table_clearance_m=0.02))
    clips = [arm.move(np.array([0, 0, -0.05, 0, 0, 0, 1.0]), 0.2) for _ in range(8) if run(arm, 20) is not None]
    assert clips[0] == () and clips[-1] == ("workspace",)
    assert arm.goal[0][2] == pytest.approx(0.07 + GOAL_INSET_M)
    assert run(arm, 40)[:, 2].min() >= 0.07


def test_out_of_reach_is_given_up_and_the_arm_can_still_go_back():
    arm = motion(dataclasses.replace(BOX, workspace_max_m=(2.0, 2.0, 2.0)))
    for _ in range(30):
        arm.move(np.array([0.05, 0, 0.01, 0, 0, 0, 1.0]), 0.2)
        run(arm, 20)
    assert set(arm.counts) & {"out of reach", "singularity", "joint range", "joint speed", "joints too slow"}
    farthest = run(arm, 100)[-1]
    assert arm.at_rest
    arm.take_refusals()
    for _ in range(12):
        arm.move(np.array([-0.04, 0, 0, 0, 0, 0, 1.0]), 0.2)
        run(arm, 20)
    assert run(arm, 50)[-1][0] < farthest[0] - 0.15


def test_a_collision_is_refused_before_it_happens():
    arm, checker = (
        motion(dataclasses.replace(BOX, workspace_min_m=(-0.5, -0.5, -0.5))),
        LimitChecker(dataclasses.replace(BOX, workspace_min_m=(-0.5, -0.5, -0.5))),
    )
    checker.begin(panda_kinematics().home)
    for _ in range(40):
        arm.move(np.array([-0.05, 0, -0.01, 0, 0.05, 0, 1.0]), 0.2)
        for _ in range(20):
            checker.check(arm.tick())
    assert arm.counts


def test_an_arm_found_in_contact_may_leave_it_but_not_into_another():
    """Its brake would lead out of one contact and into the next."""
    arm, checker = motion(), LimitChecker()
    place = np.array([-1.073, 0.269, -1.54, -2.981, -1.849, 0.158, -1.924])
    assert arm.sync(place, 0.5) is None
    assert [refusal.code for refusal in arm.take_refusals()] == ["stands in collision"]
    checker.begin(place)
    assert checker.excused == {"panda_link1 and panda_link5"}
    arm.move(
        np.array([0.045, -0.004, 0.03, -0.36, 0.5, -0.22, 0.0]), 0.05, np.array([0, -0.576, 0, 0, 2.73, -2.9, 0.79])
    )
    for _ in range(60):
        checker.check(arm.tick())
    assert not checker.excused, "it has left the contact"
    assert arm.counts["collision"] == 1 and arm.at_rest


def test_a_smaller_scale_is_slower():
    arm = motion(dataclasses.replace(BOX, scale=0.1))
    arm.move(FORWARD, 0.2)
    speed = np.linalg.norm(np.diff(run(arm, 200), axis=0), axis=1).max() / PERIOD_S
    assert 0.03 < speed <= 0.1 + 1e-6


def test_a_scale_set_in_motion_brakes_first():
    arm, checker = motion(), LimitChecker()
    checker.begin(panda_kinematics().home)
    arm.move(FORWARD * 2, 0.2)
    for _ in range(8):
        checker.check(arm.tick())
    arm.reconfigure(dataclasses.replace(BOX, scale=0.1))
    for _ in range(100):
        checker.check(arm.tick())
    assert arm.at_rest


def test_a_speed_limit_lowered_below_the_speed_does_not_lift_the_limit_of_acceleration():
    velocity, acceleration, jerk = (np.full(1, value) for value in (1.0, 7.5, 1000.0))
    for direction in (1.0, -1.0):
        tracker = JointTracker(1, JointLimits(velocity, acceleration, jerk), PERIOD_S)
        state = JointState(np.zeros(1), np.full(1, 0.9 * direction), np.zeros(1))
        tracker.limits = JointLimits(0.3 * velocity, acceleration, jerk)
        for tick in range(60):
            state = tracker.follow(state, state.position, np.full(1, 0.25 * direction))
            assert abs(state.acceleration[0]) <= 7.5 + 1e-9, tick
        assert abs(state.velocity[0]) < 0.4


class TestReports:
    def test_nothing_moves_before_the_arm_is_known(self):
        arm = motion()
        arm.unsync()
        with pytest.raises(RuntimeError, match="call sync first"):
            arm.tick()

    def test_a_resting_arm_that_was_moved_by_hand_is_taken_as_it_is_once_its_reports_agree(self):
        arm = motion()
        home, moved = panda_kinematics().home, panda_kinematics().home + 0.1
        for k in range(5):
            assert arm.on_measured(moved, 1.0 + 0.01 * k, 0.5) is None
            assert arm.doubt.code == "arm not confirmed"
            assert arm.move(FORWARD, 0.2) == ("arm not confirmed",)
            assert np.array_equal(arm.tick().position, home), "one report changes nothing"
        assert arm.on_measured(moved, 1.05, 0.5) is None
        assert arm.doubt is None
        assert arm.counts["moved by someone else"] == 1
        assert np.array_equal(arm.tick().position, moved)
        assert arm.gripper == 1.0

    def test_one_wrong_report_of_a_resting_arm_holds_it_and_changes_nothing(self):
        arm = motion()
        home = panda_kinematics().home
        seconds = 1.0
        for wrong in (0.0, 0.4, 0.0, 0.0):
            arm.on_measured(home + wrong, seconds, 1.0)
            seconds += 0.01
        assert arm.doubt.code == "joint states contradict" and "two publishers on joint_states" in arm.doubt.text
        for _ in range(120):
            arm.on_measured(home, seconds, 1.0)
            seconds += 0.01
        assert arm.doubt is None and not arm.counts["moved by someone else"]
        assert np.array_equal(arm.tick().position, home)

    def test_two_publishers_hold_a_resting_arm_for_as_long_as_they_last(self):
        arm, random = motion(), np.random.default_rng(2)
        home = panda_kinematics().home
        other = home + np.array([0.6, 0, 0, 0, 0, 0, 0])
        for k in range(600):
            arm.on_measured(home if random.random() < 0.5 else other, 0.005 * k, 1.0)
            if k > 20:
                assert arm.doubt is not None
            assert np.array_equal(arm.tick().position, home)

    def test_a_jump_while_it_brakes_re_bases_nothing(self):
        arm, checker = motion(), LimitChecker()
        checker.begin(panda_kinematics().home)
        arm.move(FORWARD, 0.2)
        seconds = 0.0
        for tick in range(150):
            command = arm.tick()
            checker.check(command)
            seconds += 0.01
            jump = 0.5 if tick == 12 else 0.0
            arm.on_measured(command.position + jump, seconds, 1.0)
            if tick == 10:
                arm.hold()
        assert arm.at_rest and arm.counts["joint state jumped"] == 2

    def test_a_joint_between_base_and_tool_that_moves_stops_a_motion_and_not_the_stream(self):
        arm, checker = motion(), LimitChecker()
        checker.begin(panda_kinematics().home)
        arm.on_base_moved("lift")
        assert arm.at_rest
        arm.move(FORWARD, 0.2)
        for tick in range(60):
            if tick == 8:
                arm.on_base_moved("lift")
            checker.check(arm.tick())
        assert arm.at_rest and arm.counts["other joint moved"] == 1

    def test_an_arm_that_is_late_is_neither_lost_nor_pushed_back(self):
        arm = motion()
        told = []
        for step in range(14):
            arm.move(FORWARD if step < 4 else np.array([0, 0, 0, 0, 0, 0, 1.0]), 0.2)
            for _ in range(20):
                told.append(arm.tick().position)
                assert arm.on_measured(told[max(0, len(told) - 30)], 0.01 * len(told), 1.0) is None
        assert arm.at_rest
        assert arm.counts["moved by someone else"] == 0
        assert np.array_equal(arm.tick().position, told[-1])

    def test_a_moving_arm_that_does_not_follow_is_a_fault(self):
        arm = motion(dataclasses.replace(BOX, workspace_max_m=(0.85, 0.5, 1.0)))
        home = panda_kinematics().home
        refusal = None
        for step in range(15):
            arm.move(np.array([0, 0.05, 0.02, 0, 0, 0.2, 1.0]), 0.2)
            for tick in range(20):
                arm.tick()
                refusal = refusal or arm.on_measured(home, 0.2 * step + 0.01 * tick, 1.0)
        assert refusal is not None and refusal.code == "arm does not follow" and refusal.sender_broken

    def test_a_jump_in_motion_is_a_fault(self):
        arm = motion()
        arm.on_measured(panda_kinematics().home, 0.0, 1.0)
        arm.move(FORWARD, 0.2)
        arm.tick()
        refusal = arm.on_measured(panda_kinematics().home + 0.3, 0.01, 1.0)
        assert refusal is not None and refusal.code == "joint state jumped"

    @pytest.mark.parametrize("wrong", [np.full(7, np.nan), np.zeros(6)])
    def test_nonsense_is_refused(self, wrong):
        arm = motion()
        assert arm.on_measured(wrong, 0.0, 1.0).sender_broken
        assert arm.sync(wrong, 1.0).sender_broken

    def test_an_arm_far_outside_its_range_is_not_moved(self):
        arm = motion()
        outside = panda_kinematics().home.copy()
        outside[3] = 0.5
        refusal = arm.sync(outside, 1.0)
        assert refusal is not None and "panda_joint4 stands far outside its range" in refusal.text

    def test_an_arm_a_little_outside_its_range_may_come_back(self):
        arm, checker = motion(), LimitChecker()
        start = panda_kinematics().home.copy()
        start[0] = panda_kinematics().upper[0] + 0.03
        assert arm.sync(start, 1.0) is None
        checker.begin(start)
        assert arm.tick().position == pytest.approx(start, abs=0)


def test_the_motion_is_the_same_as_ever():
    """A golden trace: joints of a fixed sequence. To write it anew, after a change on purpose, delete the file."""
    arm = motion()
    rows = []
    for step in range(12):
        delta = np.array([0.03 * np.cos(step), 0.03 * np.sin(step), -0.01, 0, 0, 0.1 * np.cos(2 * step), step % 2])
        arm.move(delta, 0.2, delta if step % 3 else None)
        for tick in range(20):
            command = arm.tick()
            if tick % 10 == 9:
                rows.append([*command.position.tolist(), command.gripper])
    if not GOLDEN.exists():
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(rows, indent=0) + "\n")
    # Libraries of different machines round differently, and feedback carries it on.
    assert np.array(rows) == pytest.approx(np.array(json.loads(GOLDEN.read_text())), abs=1e-4)
