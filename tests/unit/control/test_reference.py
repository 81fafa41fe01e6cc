"""The reference path: never a step in position, speed or acceleration, whatever goals come and when."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_contracts.geometry.rotations import (
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    matrix_from_quaternion,
    quaternion_from_matrix,
)
from magma_control.motion.reference import (
    PathLimits,
    ToolReference,
    angle_between,
)

PERIOD_S = 0.01
LIMITS = PathLimits(0.5, 4.0, 100.0, 2.0, 15.0, 400.0)


def run(reference: ToolReference, ticks: int) -> tuple[np.ndarray, list[np.ndarray]]:
    points = [reference.step() for _ in range(ticks)]
    return np.array([point.position for point in points]), [point.rotation for point in points]


def test_it_arrives_and_stands_still():
    reference = ToolReference(LIMITS, PERIOD_S)
    reference.reset(np.zeros(3), np.eye(3))
    goal = matrix_from_axis_angle(np.array([0.0, 0.0, 0.3]))
    reference.aim(np.array([0.1, 0.0, -0.05]), goal, 0.2)
    positions, rotations = run(reference, 200)
    assert positions[-1] == pytest.approx([0.1, 0.0, -0.05], abs=1e-9)
    assert rotations[-1] == pytest.approx(goal, abs=1e-9)
    assert reference.at_rest
    assert not reference.velocity.any()


def test_it_takes_as_long_as_it_is_given_and_arrives_on_time():
    reference = ToolReference(LIMITS, PERIOD_S)
    reference.reset(np.zeros(3), np.eye(3))
    reference.aim(np.array([0.01, 0.0, 0.0]), np.eye(3), 0.5)
    positions, _ = run(reference, 49)
    assert positions[-1][0] < 0.01 - 1e-9
    assert run(reference, 1)[0][-1][0] == pytest.approx(0.01)


def test_a_brake_ends_where_it_says():
    reference = ToolReference(LIMITS, PERIOD_S)
    reference.reset(np.zeros(3), np.eye(3))
    reference.aim(np.array([0.3, 0.0, 0.0]), matrix_from_axis_angle(np.array([0.5, 0.0, 0.0])), 0.2)
    run(reference, 20)
    reference.brake()
    end, rotation = reference.goal_position, reference.goal_rotation
    positions, rotations = run(reference, 100)
    assert reference.at_rest
    assert positions[-1] == pytest.approx(end, abs=1e-9)
    assert rotations[-1] == pytest.approx(rotation, abs=1e-9)


def test_a_goal_that_is_passed_without_a_successor_ends_in_a_brake():
    reference = ToolReference(LIMITS, PERIOD_S)
    reference.reset(np.zeros(3), np.eye(3))
    reference.aim(np.array([0.05, 0.0, 0.0]), np.eye(3), 0.2, np.array([0.2, 0, 0, 0, 0, 0]))
    positions, _ = run(reference, 100)
    assert reference.at_rest
    assert 0.05 < positions[-1][0] < 0.08
    assert (np.diff(positions[:, 0]) >= -1e-12).all()


number = st.floats(-0.3, 0.3)
angle = st.floats(-1.5, 1.5)
goals = st.tuples(number, number, number, angle, angle, angle)


@given(st.lists(st.tuples(st.one_of(goals, st.none()), st.integers(1, 40)), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_limits_hold_on_every_way(events):
    reference = ToolReference(LIMITS, PERIOD_S)
    reference.reset(np.zeros(3), np.eye(3))
    positions, rotations = [reference.position] * 3, [reference.rotation]
    for goal, ticks in events:
        if goal is None:
            reference.brake()
        else:
            turned = matrix_from_axis_angle(np.array(goal[3:])) @ reference.goal_rotation
            reference.aim(reference.goal_position + goal[:3], turned, 0.2)
        path, turns = run(reference, ticks)
        positions += list(path)
        rotations += turns
    path = np.array(positions)
    for order, limit in ((1, LIMITS.speed), (2, LIMITS.acceleration), (3, LIMITS.jerk)):
        reached = np.linalg.norm(np.diff(path, n=order, axis=0), axis=1) / PERIOD_S**order
        assert reached.max() <= limit * (1.0 + 1e-6) + 1e-12 / PERIOD_S**order
    for one, other in itertools.pairwise(rotations):
        assert np.linalg.norm(axis_angle_from_matrix(other @ one.T)) / PERIOD_S <= LIMITS.angular_speed + 1e-6


@given(st.tuples(angle, angle, angle))
def test_rotations_and_back(vector):
    matrix = matrix_from_axis_angle(np.array(vector))
    assert matrix @ matrix.T == pytest.approx(np.eye(3), abs=1e-12)
    assert matrix_from_axis_angle(axis_angle_from_matrix(matrix)) == pytest.approx(matrix, abs=1e-9)
    assert angle_between(matrix, np.eye(3)) == pytest.approx(np.linalg.norm(axis_angle_from_matrix(matrix)), abs=1e-7)
    assert matrix_from_quaternion(quaternion_from_matrix(matrix)) == pytest.approx(matrix, abs=1e-12)
