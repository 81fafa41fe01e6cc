"""Follows trajectory_msgs/JointTrajectory as ros2_control's joint_trajectory_controller does, without ROS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class TrajectoryFollower:
    """Cubic splines between points with velocities, straight lines between points without; then it holds.

    A new trajectory replaces the rest of the old one and begins from where that was, as with the interpolation method
    "splines" of joint_trajectory_controller.
    """

    def __init__(self, names: Sequence[str], positions: FloatArray) -> None:
        """
        Args:
            names: the joints, in the order of all vectors here.
            positions: (n,) where they stand.
        """
        self._names = list(names)
        self.hold(positions)

    def hold(self, positions: FloatArray) -> None:
        """Forgets the trajectory and stands at `positions` (n,)."""
        self._times = np.zeros(1)
        self._positions = np.array(positions, dtype=np.float64)[None]
        self._velocities: FloatArray | None = np.zeros_like(self._positions)
        self._start_s = 0.0

    @property
    def end_s(self) -> float:
        """When the trajectory ends, or ended."""
        return float(self._start_s + self._times[-1])

    def start(
        self,
        now_s: float,
        names: Sequence[str],
        times_s: Sequence[float],
        positions: Sequence[Sequence[float]],
        velocities: Sequence[Sequence[float]],
    ) -> None:
        """Takes a trajectory whose time zero is `now_s`; arguments and errors as of `check`, after which the old
        trajectory stays in force."""
        times, rows, speeds = self.check(names, times_s, positions, velocities)
        present, speed = self.at(now_s)
        self._times = np.concatenate([[0.0], times])
        self._positions = np.vstack([present, rows])
        self._velocities = None if speeds is None else np.vstack([speed, speeds])
        self._start_s = now_s

    def check(
        self,
        names: Sequence[str],
        times_s: Sequence[float],
        positions: Sequence[Sequence[float]],
        velocities: Sequence[Sequence[float]],
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Times (m,), positions (m, n) and velocities (m, n) or None, in the order of this arm's joints.

        Args:
            names: joints of the columns, in any order; all of them.
            times_s: m times, rising, above zero.
            positions: m rows; velocities: m rows, or rows without values; the last row rests.

        Raises:
            ValueError: other joints, wrong lengths, times that do not rise, a motion at the end, or values that are
                not finite.
        """
        if sorted(names) != sorted(self._names):
            raise ValueError(f"the trajectory is for {list(names)}, this arm has {self._names}")
        if not len(times_s) or len(positions) != len(times_s) or len(velocities) != len(times_s):
            raise ValueError(f"{len(times_s)} times, {len(positions)} positions and {len(velocities)} velocities")
        if any(len(row) != len(self._names) for row in positions):
            raise ValueError(f"every point needs {len(self._names)} positions")
        times = np.array(times_s, dtype=np.float64)
        if not (np.diff(times, prepend=0.0) > 0.0).all():
            raise ValueError(f"times must rise from above zero, got {times.tolist()}")
        order = [list(names).index(name) for name in self._names]
        rows = np.array(positions, dtype=np.float64)[:, order]
        speeds = None
        if all(len(row) == len(self._names) for row in velocities):
            speeds = np.array(velocities, dtype=np.float64)[:, order]
        if not np.isfinite(rows).all() or (speeds is not None and not np.isfinite(speeds).all()):
            raise ValueError("positions and velocities must be finite")
        if speeds is not None and (np.abs(speeds[-1]) > np.finfo(np.float32).eps).any():
            raise ValueError(f"the trajectory ends in motion, with {speeds[-1].tolist()} rad/s")
        return times, rows, speeds

    def at(self, now_s: float) -> tuple[FloatArray, FloatArray]:
        """Positions and velocities (n,) at a time; at rest after the end."""
        time_s = now_s - self._start_s
        if time_s >= self._times[-1] or len(self._times) == 1:
            last = np.zeros(len(self._names)) if self._velocities is None else self._velocities[-1]
            # At the very end the last point's velocity still counts; a moment later the arm holds.
            ended = time_s > self._times[-1] + 1e-9
            return self._positions[-1].copy(), np.zeros(len(self._names)) if ended else last.copy()
        index = int(np.searchsorted(self._times, time_s, side="right")) - 1
        length = self._times[index + 1] - self._times[index]
        share = (time_s - self._times[index]) / length
        one, other = self._positions[index], self._positions[index + 1]
        if self._velocities is None:
            return one + share * (other - one), (other - one) / length
        first, second = self._velocities[index] * length, self._velocities[index + 1] * length
        # Cubic Hermite spline.
        square, cube = share * share, share**3
        position = (
            (2 * cube - 3 * square + 1) * one
            + (cube - 2 * square + share) * first
            + (3 * square - 2 * cube) * other
            + (cube - square) * second
        )
        velocity = (
            (6 * square - 6 * share) * (one - other)
            + (3 * square - 4 * share + 1) * first
            + (3 * square - 2 * share) * second
        ) / length
        return position, velocity
