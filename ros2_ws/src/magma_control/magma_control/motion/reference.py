"""The path that the tool should follow: from goal to goal with limited speed, acceleration and jerk.

Trajectories come from Ruckig (Berscheid and Kroeger, "Jerk-limited real-time trajectory generation with arbitrary
target states", RSS 2021). Every change of goal starts from the present position, velocity and acceleration, so that
the path has no step in any of them, whoever gives the goal. No clock: each call of `step` is one period.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ruckig import ControlInterface, InputParameter, Ruckig, RuckigError, Synchronization, Trajectory

from magma_contracts.geometry.rotations import axis_angle_from_matrix, matrix_from_axis_angle

FloatArray = NDArray[np.float64]
_AXES = 6
_REBASE_RAD = 1.0


@dataclass(frozen=True)
class PathLimits:
    """Highest length of the vectors of velocity, acceleration and jerk; linear in m, angular in rad."""

    speed: float
    acceleration: float
    jerk: float
    angular_speed: float
    angular_acceleration: float
    angular_jerk: float

    def per_axis(self) -> tuple[list[float], list[float], list[float]]:
        """Limits for each of three axes such that the vector keeps its own limit in every direction."""
        share = 1.0 / math.sqrt(3.0)
        return (
            [self.speed * share] * 3 + [self.angular_speed * share] * 3,
            [self.acceleration * share] * 3 + [self.angular_acceleration * share] * 3,
            [self.jerk * share] * 3 + [self.angular_jerk * share] * 3,
        )


@dataclass(frozen=True)
class PathPoint:
    """Pose and velocity of the reference."""

    position: FloatArray
    """(3,) m"""
    rotation: FloatArray
    """(3, 3)"""


class ToolReference:
    """Moves a pose towards a goal. Orientation is an axis-angle vector relative to a recent orientation; its rate of
    change is never smaller than the angular velocity, so that a limit on it holds for the other."""

    def __init__(self, limits: PathLimits, period_s: float) -> None:
        self._period_s = period_s
        self._generator = Ruckig(_AXES)
        self._limits = limits
        self._trajectory: Trajectory | None = None
        self._passes_goal = False
        self._elapsed_s = 0.0
        self._origin = np.eye(3)
        self._state = np.zeros((3, _AXES))
        self.goal_position = np.zeros(3)
        self.goal_rotation = np.eye(3)

    @property
    def limits(self) -> PathLimits:
        return self._limits

    @limits.setter
    def limits(self, limits: PathLimits) -> None:
        self._limits = limits

    def reset(self, position: FloatArray, rotation: FloatArray) -> None:
        """Stands at a pose; the goal is there too."""
        self._origin = np.array(rotation, dtype=np.float64)
        self._state = np.zeros((3, _AXES))
        self._state[0, :3] = position
        self._trajectory = None
        self.goal_position = np.array(position, dtype=np.float64)
        self.goal_rotation = self._origin.copy()

    @property
    def position(self) -> FloatArray:
        """(3,) m"""
        return self._state[0, :3].copy()

    @property
    def rotation(self) -> FloatArray:
        """(3, 3)"""
        return matrix_from_axis_angle(self._state[0, 3:]) @ self._origin

    @property
    def velocity(self) -> FloatArray:
        """(6,): m/s, and the rate of the axis-angle vector, rad/s."""
        return self._state[1].copy()

    @property
    def acceleration(self) -> FloatArray:
        """(6,)"""
        return self._state[2].copy()

    @property
    def at_rest(self) -> bool:
        """Whether it stands, and will go on standing."""
        return self._trajectory is None

    def aim(
        self, position: FloatArray, rotation: FloatArray, duration_s: float, end_velocity: FloatArray | None = None
    ) -> None:
        """Goes to a pose in not less than `duration_s`, or as much longer as the limits need.

        Args:
            end_velocity: (6,) to pass the goal with, linear m/s and angular rad/s; None: come to rest there.
        """
        self._rebase()
        self.goal_position, self.goal_rotation = np.array(position), np.array(rotation)
        task = self._input()
        task.target_position = [*position, *axis_angle_from_matrix(rotation @ self._origin.T)]
        if end_velocity is not None:
            bound = np.array(task.max_velocity)
            task.target_velocity = np.clip(end_velocity, -bound, bound).tolist()
        task.minimum_duration = duration_s
        if self._start(task):
            self._passes_goal = any(task.target_velocity)
        else:
            self.brake()

    def brake(self) -> None:
        """Comes to rest as soon as the limits allow; the goal is where that will be."""
        self._rebase()
        task = self._input()
        task.control_interface = ControlInterface.Velocity
        if not self._start(task):
            # Ruckig cannot always make all axes end at the same time, such as when a limit has just become lower than
            # the present acceleration; each by itself it can.
            task.synchronization = Synchronization.No
            if not self._start(task):
                # Only with a state that is no state: then standing still is all that is left.
                self.reset(self.position, self.rotation)
                return
        end = np.array(self._at(self._require().duration)[0])
        self.goal_position, self.goal_rotation = end[:3], matrix_from_axis_angle(end[3:]) @ self._origin

    def step(self) -> PathPoint:
        """The pose one period later."""
        trajectory = self._trajectory
        if trajectory is not None:
            self._elapsed_s += self._period_s
            self._state = np.array(self._at(self._elapsed_s))
            if self._elapsed_s >= trajectory.duration:
                if self._passes_goal:
                    # It was to be passed in motion, and nothing followed.
                    self.brake()
                else:
                    # What is left of speed is rounding; braking from that would leave some again, without end.
                    self._trajectory = None
                    self._state[1:] = 0.0
        return PathPoint(self.position, self.rotation)

    def _require(self) -> Trajectory:
        if self._trajectory is None:
            raise RuntimeError("the reference has no trajectory")
        return self._trajectory

    def _at(self, time_s: float) -> tuple[list[float], list[float], list[float]]:
        return self._require().at_time(time_s)

    def _input(self) -> InputParameter:
        task = InputParameter(_AXES)
        task.current_position, task.current_velocity, task.current_acceleration = (row.tolist() for row in self._state)
        task.max_velocity, task.max_acceleration, task.max_jerk = self._limits.per_axis()
        return task

    def _start(self, task: InputParameter) -> bool:
        trajectory = Trajectory(_AXES)
        try:
            result = self._generator.calculate(task, trajectory)
        except (RuntimeError, RuckigError):
            return False
        if int(result) < 0:
            return False
        self._trajectory, self._elapsed_s, self._passes_goal = trajectory, 0.0, False
        return True

    def _rebase(self) -> None:
        """Measures orientation from the present one when it has turned far: axis-angle vectors end at half a turn."""
        turned = self._state[0, 3:]
        if (
            np.linalg.norm(turned) < _REBASE_RAD
            and np.linalg.norm(axis_angle_from_matrix(self.goal_rotation @ self._origin.T)) < 2.0 * _REBASE_RAD
        ):
            return
        step = 1e-4
        rates = []
        for time_s in (-step, 0.0, step):
            vector = turned + self._state[1, 3:] * time_s + 0.5 * self._state[2, 3:] * time_s**2
            rates.append(axis_angle_from_matrix(matrix_from_axis_angle(vector) @ matrix_from_axis_angle(turned).T))
        self._origin = matrix_from_axis_angle(turned) @ self._origin
        self._state[0, 3:] = 0.0
        self._state[1, 3:] = (rates[2] - rates[0]) / (2.0 * step)
        self._state[2, 3:] = (rates[2] - 2.0 * rates[1] + rates[0]) / step**2


def angle_between(one: FloatArray, other: FloatArray) -> float:
    """Angle (rad, 0 ... pi) of the rotation that leads from one orientation (3, 3) to another."""
    between = one @ other.T
    x, y, z = between[2, 1] - between[1, 2], between[0, 2] - between[2, 0], between[1, 0] - between[0, 1]
    # Twice the sine and twice the cosine: exact for small angles, where the cosine alone is not.
    return math.atan2(math.sqrt(x * x + y * y + z * z), between[0, 0] + between[1, 1] + between[2, 2] - 1.0)
