"""A leader arm: the robot follows how it moves, never to where it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from magma_teleop.device_node import find_profile
from magma_teleop.leader_operator import LeaderOperator, LeaderSample
from magma_teleop.operator_device import ArmPose

PERIOD_S = 0.1
ARM = ArmPose(np.array([1.0, 0.0, 0.0, 0.0]), 0.0)


class Leader:
    def __init__(self, **changes):
        self.operator = LeaderOperator(dataclasses.replace(find_profile("leader"), **changes), PERIOD_S)
        self.now_s = 50.0
        self.position = np.array([0.3, 0.1, 0.2])
        self.rotation = Rotation.identity()
        self.gripper = 0.6
        self.pedal = False
        self.sent = []

    def moves(self, seconds, velocity=(0, 0, 0), turning=(0, 0, 0), heard=True):
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            self.position = self.position + 0.02 * np.array(velocity, dtype=float)
            self.rotation = Rotation.from_rotvec(0.02 * np.array(turning, dtype=float)) * self.rotation
            if heard:
                sample = LeaderSample(self.position, self.rotation.as_quat(), self.gripper)
                self.operator.on_sample(sample, self.now_s)
                self.operator.on_pedal(self.pedal, self.now_s)
            delta = self.operator.command(self.now_s, ARM)
            if delta is not None:
                self.sent.append(delta)

    @property
    def went(self):
        return np.sum(self.sent, axis=0)


def test_the_robot_goes_as_far_as_the_leader_from_where_it_is():
    leader = Leader()
    leader.moves(0.5, velocity=(0.1, 0, 0))
    assert leader.sent == [], "without the pedal nothing moves"
    leader.pedal = True
    leader.moves(1.0, velocity=(0.1, -0.05, 0), turning=(0, 0, 0.4))
    leader.moves(0.4)
    np.testing.assert_allclose(leader.went[:3], [0.1, -0.05, 0.0], atol=0.003)
    np.testing.assert_allclose(leader.went[3:6], [0, 0, 0.4], atol=0.01)
    assert np.linalg.norm(leader.sent[0][:3]) < 0.01, "no snap to the leader at the take-over"


def test_a_leader_that_is_too_fast_is_followed_within_the_speed_and_the_rest_given_up():
    leader = Leader()
    leader.moves(0.1)
    leader.pedal = True
    leader.moves(1.0, velocity=(1.0, 0, 0))
    speeds = [np.linalg.norm(delta[:3]) / PERIOD_S for delta in leader.sent]
    assert max(speeds) <= 0.25 + 1e-9
    leader.moves(1.0)
    assert leader.went[0] <= 1.1 * 0.25 + 0.05 + 1e-9


def test_the_scale_is_that_of_the_profile():
    leader = Leader(scale=0.5, rotation_scale=0.0)
    leader.moves(0.1)
    leader.pedal = True
    leader.moves(1.0, velocity=(0, 0, 0.1), turning=(0.3, 0, 0))
    leader.moves(0.3)
    np.testing.assert_allclose(leader.went[:6], [0, 0, 0.05, 0, 0, 0], atol=0.002)


def test_the_gripper_is_picked_up_only_when_the_leaders_was_moved():
    leader = Leader()
    leader.moves(0.1)
    leader.pedal = True
    leader.moves(0.3)
    assert leader.sent[-1][6] == 0.0, "the robot keeps what it holds"
    leader.gripper = 0.9
    leader.moves(0.2)
    assert leader.sent[-1][6] == 0.9


def test_by_touch_a_motion_of_the_leader_takes_over_and_rest_lets_go():
    leader = Leader(activation="touch")
    leader.moves(0.5)
    leader.moves(0.5, velocity=(0.1, 0, 0))
    assert leader.sent and leader.operator.status(leader.now_s).engaged
    leader.moves(2.5)
    assert not leader.operator.status(leader.now_s).engaged


@pytest.mark.parametrize("activation", ["dead_man", "touch"])
def test_a_leader_lost_while_it_moves_has_to_take_over_anew(activation):
    leader = Leader(activation=activation)
    leader.moves(0.2)
    leader.pedal = True
    leader.moves(0.6, velocity=(0.1, 0, 0))
    assert leader.sent
    leader.moves(0.5, heard=False)
    leader.sent.clear()
    leader.position = leader.position + 0.3
    leader.moves(1.0, heard=False)
    assert not leader.operator.status(leader.now_s).connected
    leader.moves(0.3)
    if activation == "dead_man":
        leader.moves(0.5, velocity=(0.1, 0, 0))
    assert leader.sent == [], "back, elsewhere, with the pedal down: nothing moves"


def test_a_pedal_that_falls_silent_counts_as_released():
    leader = Leader()
    leader.moves(0.1)
    leader.pedal = True
    leader.moves(0.3)
    for _ in range(60):
        leader.now_s += 0.02
        leader.operator.on_sample(LeaderSample(leader.position, leader.rotation.as_quat(), 0.6), leader.now_s)
    assert not leader.operator.status(leader.now_s).engaged


def test_a_pose_that_makes_no_sense_is_no_pose():
    leader = Leader()
    leader.moves(0.1)
    leader.pedal = True
    leader.moves(0.3)
    leader.sent.clear()
    leader.position = np.array([np.nan, 0, 0])
    leader.moves(0.5)
    assert leader.sent == [] and "no sense" in leader.operator.status(leader.now_s).text
