"""Judges a FollowJointTrajectory goal as ros2_control's joint_trajectory_controller does, without ROS.

https://control.ros.org/jazzy/doc/ros2_controllers/joint_trajectory_controller/doc/userdoc.html ; the defaults are that
controller's: positions are not checked unless a goal asks for it, and at its end the arm has to stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
STOPPED_RAD_S = 0.01
"""Default of `constraints.stopped_velocity_tolerance`."""
ERASED = -1.0
"""A tolerance in a goal that lifts the default."""


class Code(IntEnum):
    """Error codes of the action's result."""

    SUCCESSFUL = 0
    INVALID_GOAL = -1
    PATH_TOLERANCE_VIOLATED = -4
    GOAL_TOLERANCE_VIOLATED = -5


@dataclass(frozen=True)
class Verdict:
    """How a goal ended."""

    code: Code
    text: str


class JointTolerance(Protocol):
    """control_msgs/JointTolerance, as far as it is used: rad and rad/s; 0 = the default, -1 = none."""

    name: str
    position: float
    velocity: float


@dataclass(frozen=True)
class Tolerances:
    """What a goal may deviate by; per joint (n,), where 0 is not checked."""

    path_position: FloatArray
    path_velocity: FloatArray
    goal_position: FloatArray
    goal_velocity: FloatArray
    goal_time_s: float
    """extra time for arriving; 0 = as long as it takes"""

    @classmethod
    def default(cls, joints: int) -> Tolerances:
        nothing = np.zeros(joints)
        return cls(nothing, nothing, nothing, np.full(joints, STOPPED_RAD_S), 0.0)


def tolerances_of_goal(
    names: Sequence[str], path: Iterable[JointTolerance], goal: Iterable[JointTolerance], goal_time_s: float
) -> Tolerances:
    """Tolerances of one goal, the defaults where it says nothing.

    Args:
        names: joints of the arm, in order.
        path, goal: tolerances on the way and at the end.
        goal_time_s: extra time for arriving, as the goal gives it.

    Raises:
        ValueError: a joint that the arm does not have, or a tolerance that is negative and not -1.
    """
    default = Tolerances.default(len(names))
    on_the_way = _overridden(names, path, default.path_position, default.path_velocity)
    at_the_end = _overridden(names, goal, default.goal_position, default.goal_velocity)
    return Tolerances(*on_the_way, *at_the_end, _resolved(default.goal_time_s, goal_time_s))


def _overridden(
    names: Sequence[str], given: Iterable[JointTolerance], position: FloatArray, velocity: FloatArray
) -> tuple[FloatArray, FloatArray]:
    position, velocity = position.copy(), velocity.copy()
    for tolerance in given:
        if tolerance.name not in names:
            raise ValueError(f"a tolerance is for joint {tolerance.name!r}, this arm has {list(names)}")
        index = list(names).index(tolerance.name)
        position[index] = _resolved(position[index], tolerance.position)
        velocity[index] = _resolved(velocity[index], tolerance.velocity)
    return position, velocity


def _resolved(default: float, given: float) -> float:
    if given > 0.0:
        return given
    if given == ERASED:
        return 0.0
    if given == 0.0:
        return default
    raise ValueError(f"a tolerance is {given}: positive, 0 for the default, or -1 for none")


def judge(
    tolerances: Tolerances, after_end_s: float, position_error: FloatArray, velocity_error: FloatArray
) -> Verdict | None:
    """What is to be said about a goal now; None while it goes on.

    Args:
        after_end_s: time since the end of the trajectory; negative before.
        position_error, velocity_error: (n,) desired minus measured.
    """
    if after_end_s < 0.0:
        if _outside(position_error, tolerances.path_position) or _outside(velocity_error, tolerances.path_velocity):
            return Verdict(Code.PATH_TOLERANCE_VIOLATED, "Aborted due to path tolerance violation")
        return None
    if not (_outside(position_error, tolerances.goal_position) or _outside(velocity_error, tolerances.goal_velocity)):
        return Verdict(Code.SUCCESSFUL, "Goal successfully reached!")
    if 0.0 < tolerances.goal_time_s < after_end_s:
        text = f"Aborted due to goal_time_tolerance exceeding by {after_end_s - tolerances.goal_time_s:.3f} seconds"
        return Verdict(Code.GOAL_TOLERANCE_VIOLATED, text)
    return None


def _outside(error: FloatArray, tolerance: FloatArray) -> bool:
    return bool(((tolerance > 0.0) & (np.abs(error) > tolerance)).any())
