"""From a wanted joint path to one that keeps each joint's limits of speed, acceleration and jerk, and can always brake.

Positions in rad, times in s; vectors have one value per joint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ruckig import ControlInterface, InputParameter, Ruckig, Synchronization, Trajectory

FloatArray = NDArray[np.float64]
_TRACKING_RAD_S = 30.0
"""How fast a deviation from the wanted path is worked off; slower than the sampling by far, so that it never rings."""


@dataclass(frozen=True)
class JointState:
    """Where the joints are commanded to be, each (n,)."""

    position: FloatArray
    velocity: FloatArray
    acceleration: FloatArray

    @classmethod
    def resting(cls, position: FloatArray) -> JointState:
        zero = np.zeros(len(position))
        return cls(np.array(position, dtype=np.float64), zero, zero.copy())


@dataclass(frozen=True)
class JointLimits:
    """Per joint (n,): speed, acceleration, jerk."""

    velocity: FloatArray
    acceleration: FloatArray
    jerk: FloatArray


class Brake:
    """The way to rest from one state, as fast as acceleration and jerk allow."""

    def __init__(self, generator: Ruckig, state: JointState, limits: JointLimits, period_s: float) -> None:
        joints = len(state.position)
        task = InputParameter(joints)
        task.control_interface = ControlInterface.Velocity
        task.synchronization = Synchronization.Time
        task.current_position = state.position.tolist()
        task.current_velocity = state.velocity.tolist()
        task.current_acceleration = state.acceleration.tolist()
        task.max_acceleration = limits.acceleration.tolist()
        task.max_jerk = limits.jerk.tolist()
        self._trajectory = Trajectory(joints)
        result = generator.calculate(task, self._trajectory)
        if int(result) < 0:
            raise RuntimeError(f"no brake from {state}: {result}")
        self.duration_s = self._trajectory.duration
        self._period_s = period_s

    @property
    def ticks(self) -> int:
        """Periods until rest."""
        return int(np.ceil(self.duration_s / self._period_s - 1e-9))

    def after(self, ticks: int) -> JointState:
        """The state so many periods later."""
        if ticks >= self.ticks:
            return JointState.resting(np.array(self._trajectory.at_time(self.duration_s)[0]))
        position, velocity, acceleration = self._trajectory.at_time(ticks * self._period_s)
        return JointState(np.array(position), np.array(velocity), np.array(acceleration))


class JointTracker:
    """Follows a wanted joint path with bounded jerk: a chain of three integrators with all poles at one place, whose
    input is cut to what jerk, acceleration and speed allow."""

    def __init__(self, joints: int, limits: JointLimits, period_s: float) -> None:
        self._period_s = period_s
        self._limits = limits
        self._generator = Ruckig(joints)
        self._gains = _gains(period_s, _TRACKING_RAD_S)
        self._last_velocity = np.zeros(joints)
        self._last_acceleration = np.zeros(joints)

    @property
    def limits(self) -> JointLimits:
        return self._limits

    @limits.setter
    def limits(self, limits: JointLimits) -> None:
        self._limits = limits

    def reset(self) -> None:
        """Forgets the path that was followed."""
        self._last_velocity[:] = 0.0
        self._last_acceleration[:] = 0.0

    def follow(self, state: JointState, wanted: FloatArray, velocity: FloatArray) -> JointState:
        """One period further.

        Args:
            state: the present state.
            wanted: (n,) where the path is now.
            velocity: (n,) of the path over the coming period.
        """
        period = self._period_s
        acceleration = (velocity - self._last_velocity) / period
        path_velocity = 0.5 * (velocity + self._last_velocity)
        jerk = (acceleration - self._last_acceleration) / period
        self._last_velocity, self._last_acceleration = velocity.copy(), acceleration
        jerk = (
            jerk
            + self._gains[0] * (wanted - state.position)
            + self._gains[1] * (path_velocity - state.velocity)
            + self._gains[2] * (acceleration - state.acceleration)
        )
        return self._advance(state, jerk)

    def _advance(self, state: JointState, jerk: FloatArray) -> JointState:
        limits, period = self._limits, self._period_s
        most = limits.acceleration
        # A joint faster than its limit, which was lowered on the way, slows down no harder than it may.
        top = np.clip(self._highest_acceleration(state.velocity, state.acceleration), -most, most)
        bottom = np.clip(-self._highest_acceleration(-state.velocity, -state.acceleration), -most, most)
        following = np.clip(state.acceleration + period * jerk, bottom, np.maximum(bottom, top))
        # Jerk comes last: what the other two limits ask for beyond it is the brake's business.
        jerk = np.clip((following - state.acceleration) / period, -limits.jerk, limits.jerk)
        return JointState(
            state.position + period * (state.velocity + period * (state.acceleration / 2.0 + period * jerk / 6.0)),
            state.velocity + period * (state.acceleration + period * jerk / 2.0),
            state.acceleration + period * jerk,
        )

    def _highest_acceleration(self, velocity: FloatArray, acceleration: FloatArray) -> FloatArray:
        """The acceleration after this period from which the joint can still stay below its speed limit: with
        v' = v + (a + a') T/2 it has to hold that v' + a'^2 / (2 jerk) <= v_max."""
        limits, half = self._limits, 0.5 * self._period_s
        room = limits.velocity - velocity - half * acceleration
        inside = (limits.jerk * half) ** 2 + 2.0 * limits.jerk * room
        rising = -limits.jerk * half + np.sqrt(np.maximum(inside, 0.0))
        # Without room the joint must slow down within this period.
        return np.where(room > 0.0, rising, room / half)

    def brake(self, state: JointState) -> Brake:
        """The way to rest from a state."""
        return Brake(self._generator, state, self._limits, self._period_s)


def _gains(period_s: float, pole_rad_s: float) -> FloatArray:
    """Feedback (3,) on position, velocity and acceleration that puts the three poles of a sampled chain of three
    integrators at exp(-pole T): Ackermann's formula."""
    t = period_s
    a = np.array([[1.0, t, t * t / 2.0], [0.0, 1.0, t], [0.0, 0.0, 1.0]])
    b = np.array([t**3 / 6.0, t * t / 2.0, t])
    controllability = np.stack([b, a @ b, a @ a @ b], axis=1)
    shifted = a - np.exp(-pole_rad_s * t) * np.eye(3)
    return np.linalg.solve(controllability.T, np.array([0.0, 0.0, 1.0])) @ (shifted @ shifted @ shifted)
