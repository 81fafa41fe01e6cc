"""Kinematics of the Panda against itself and against numbers, where it is easy and where it is not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from arm_builders import PERIOD_S, panda, panda_description, panda_kinematics

from magma_contracts.errors import ConfigError
from magma_contracts.geometry.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from magma_control.motion.kinematics import Kinematics
from magma_control.robots.robot_config import CollisionSection, FramesSection, JointsSection
from magma_control.robots.robot_description import RobotDescription


def random_postures(count: int) -> np.ndarray:
    """Postures well inside the ranges that touch nothing."""
    kinematics, random = panda_kinematics(), np.random.default_rng(0)
    middle, half = (kinematics.lower + kinematics.upper) / 2, (kinematics.upper - kinematics.lower) / 2
    return middle + random.uniform(-0.8, 0.8, (count, kinematics.joints)) * half


def test_the_tool_of_a_known_posture():
    # Franka's own forward kinematics of its "ready" posture, with the flange's 0.107 m and the hand's 0.1034 m.
    joints = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])
    position, rotation = panda_kinematics().forward(joints)
    assert position == pytest.approx([0.30689, 0.0, 0.48688], abs=2e-3)
    assert rotation == pytest.approx(np.diag([1.0, -1.0, -1.0]), abs=1e-3)


def test_the_jacobian_is_the_derivative():
    kinematics, step = panda_kinematics(), 1e-6
    for joints in random_postures(10):
        position, rotation = kinematics.forward(joints)
        jacobian = kinematics.jacobian(joints)
        for joint in range(kinematics.joints):
            moved = joints.copy()
            moved[joint] += step
            other_position, other_rotation = kinematics.forward(moved)
            assert jacobian[:3, joint] == pytest.approx((other_position - position) / step, abs=1e-5)
            assert jacobian[3:, joint] == pytest.approx(
                axis_angle_from_matrix(other_rotation @ rotation.T) / step, abs=1e-5
            )


def solve(joints: np.ndarray, position: np.ndarray, rotation: np.ndarray, ticks: int) -> np.ndarray:
    kinematics = panda_kinematics()
    for _ in range(ticks):
        joints = joints + PERIOD_S * kinematics.step(joints, position, rotation, PERIOD_S).velocity
    return joints


def test_inverse_kinematics_finds_what_forward_kinematics_says():
    kinematics, random = panda_kinematics(), np.random.default_rng(1)
    kinematics.limit_speeds(kinematics.max_velocity)
    kinematics.widen_ranges(kinematics.home)
    for _ in range(20):
        goal = kinematics.home + random.uniform(-0.3, 0.3, kinematics.joints)
        position, rotation = kinematics.forward(goal)
        found = solve(kinematics.home, position, rotation, 150)
        got_position, got_rotation = kinematics.forward(found)
        assert np.linalg.norm(got_position - position) < 1e-4
        assert np.linalg.norm(axis_angle_from_matrix(got_rotation @ rotation.T)) < 1e-3
        assert ((found >= kinematics.lower - 1e-9) & (found <= kinematics.upper + 1e-9)).all()


def test_in_a_singularity_the_joints_stay_slow():
    kinematics = panda_kinematics()
    kinematics.widen_ranges(kinematics.home)
    # An outstretched arm: it can go neither farther out nor straight back.
    joints = np.array([0.0, 0.0, 0.0, -0.1248, 0.0, 1.6, 0.785])
    position, rotation = kinematics.forward(joints)
    step = kinematics.step(joints, position + np.array([0.0, 0.0, 0.01]), rotation, PERIOD_S)
    assert step.smallest_singular_value < panda().ik.damping_below
    assert (np.abs(step.velocity) <= kinematics.max_velocity + 1e-9).all()


def test_an_unreachable_goal_is_approached_and_no_limit_breaks():
    kinematics = panda_kinematics()
    joints = kinematics.home
    for _ in range(300):
        step = kinematics.step(
            joints, np.array([2.0, 0.0, 0.5]), matrix_from_axis_angle(np.array([np.pi, 0, 0])), PERIOD_S
        )
        assert (np.abs(step.velocity) <= kinematics.max_velocity + 1e-6).all()
        joints = joints + PERIOD_S * step.velocity
        assert ((joints >= kinematics.lower - 1e-6) & (joints <= kinematics.upper + 1e-6)).all()
    position, _ = kinematics.forward(joints)
    assert 0.6 < position[0] < 1.2


def test_collisions_are_seen_and_named():
    kinematics = panda_kinematics()
    assert kinematics.checks_collisions
    assert kinematics.collision(kinematics.home) is None
    folded = np.array([1.17, -0.52, -1.74, -3.02, -1.35, 3.45, -2.57])
    assert kinematics.collision(folded) == "panda_link1 and panda_link5"
    random = np.random.default_rng(3)
    pairs = {kinematics.collision(random.uniform(kinematics.lower, kinematics.upper)) for _ in range(1000)} - {None}
    with_table = {pair.split()[0] for pair in pairs if "table" in pair}
    assert with_table and with_table <= set(panda().collision.links_above_table)
    assert len(pairs) > len(with_table)


def test_the_order_of_the_joints_is_the_configuration_s():
    names = panda().joints.names
    turned = dataclasses.replace(
        panda(),
        joints=JointsSection(names=names[::-1], home=panda().joints.home[::-1], max_velocity=(1.0,)),
    )
    kinematics = Kinematics(turned, panda_description())
    assert kinematics.lower == pytest.approx(panda_kinematics().lower[::-1])
    home = np.array(panda().joints.home)
    assert kinematics.forward(home[::-1])[0] == pytest.approx(panda_kinematics().forward(home)[0])
    assert kinematics.jacobian(home[::-1]) == pytest.approx(panda_kinematics().jacobian(home)[:, ::-1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": JointsSection(names=("elbow",), home=(0.0,))}, "no movable joint elbow; it has panda_joint1"),
        ({"frames": FramesSection(base="panda_link0", tool="hand")}, "no link 'hand'"),
        ({"frames": FramesSection(base="panda_hand", tool="panda_hand_tcp")}, "base link 'panda_hand' is moved"),
        ({"joints": dataclasses.replace(panda().joints, home=(0.0,) * 7)}, "home is out of range: panda_joint4"),
        ({"joints": dataclasses.replace(panda().joints, names=panda().joints.names)}, None),
        ({"collision": CollisionSection(links_above_table=("elbow",))}, "not in the URDF: elbow"),
    ],
)
def test_a_configuration_that_does_not_fit_the_description(changes, message):
    robot = dataclasses.replace(panda(), **changes)
    if message is None:
        Kinematics(robot, panda_description())
        return
    with pytest.raises(ConfigError, match=message):
        Kinematics(robot, panda_description())


def test_a_description_that_is_none():
    with pytest.raises(ConfigError, match="cannot be read"):
        Kinematics(panda(), RobotDescription("<robot name='x'>"))


def test_geometry_that_is_missing_is_an_error_and_no_silent_absence():
    with pytest.raises(ConfigError, match="collision geometry cannot be read"):
        Kinematics(panda(), RobotDescription(panda_description().urdf, ()))
