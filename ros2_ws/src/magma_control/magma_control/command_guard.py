"""The last look at every command, at the exits of the controller: does the stream of commands keep its limits?

What decides on motions keeps the limits by construction and by its own checks; this looks at nothing but what goes out,
one command after the other, and knows nothing of phases, reports or reasons. So a mistake elsewhere, of whatever kind,
cannot become a jump of the arm. What does not pass is not sent. No clock, no I/O, no ROS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from magma_contracts.actions import GRIPPER, ROTATION, TRANSLATION
from magma_control.config import ControllerConfig
from magma_control.safety import Refusal, motion_time_s

if TYPE_CHECKING:
    from magma_control.motion.arm_motion import ArmCommand
    from magma_control.motion.joint_motion import JointLimits

FloatArray = NDArray[np.float64]
CODE = "command guard"
_RELATIVE, _ROUNDING = 1e-6, 1e-9


class JointGuard:
    """The stream of joint commands of one arm.

    A stream begins at rest at a known position, and from there on position, speed, acceleration and jerk of every joint
    stay within their limits from each command to the next, and along the brake of each command too. Derivatives are
    differences of the positions that go out; what a command says about its velocity is not relied on.
    """

    def __init__(
        self, names: Sequence[str], lower: FloatArray, upper: FloatArray, limits: JointLimits, period_s: float
    ) -> None:
        """
        Args:
            names: of the n joints.
            lower, upper: (n,) ranges, rad; infinite for a joint without ends.
            limits: the highest speed, acceleration and jerk of each joint (n,), before any scaling.
            period_s: from one command to the next.
        """
        self._names = tuple(names)
        self._lower, self._upper = lower, upper
        self._allowed = tuple(
            (what, limit * period_s**order * (1.0 + _RELATIVE) + _ROUNDING)
            for order, (what, limit) in enumerate(
                (("speed", limits.velocity), ("acceleration", limits.acceleration), ("jerk", limits.jerk)), start=1
            )
        )
        self._last: FloatArray | None = None
        self._forms: dict[int, tuple[FloatArray, FloatArray, FloatArray]] = {}

    @property
    def begun(self) -> bool:
        """Whether a stream has a beginning."""
        return self._last is not None

    def begin(self, position: FloatArray) -> None:
        """A stream begins at rest.

        Args:
            position: (n,) where the arm is known to stand.
        """
        self._last = np.tile(position, (3, 1))

    def end(self) -> None:
        """The stream is over; nothing passes before the next `begin`."""
        self._last = None

    def pass_on(self, command: ArmCommand) -> Refusal | None:
        """Takes a command as the stream's next one; or returns why it must not be sent, and stays where it was."""
        last = self._last
        if last is None:
            return Refusal(CODE, "a joint command without a beginning: where the arm stands is not known", True)
        rows = np.concatenate((last, command.position[np.newaxis], command.brake_positions))
        if not self._keeps_limits(rows):
            refusal = self._refuse_rows(rows, command)
            if refusal is not None:
                return refusal
        if np.count_nonzero(command.brake_velocities[-1]):
            return Refusal(CODE, "a joint command came with a brake that does not end at rest", True)
        self._last = rows[1:4]
        return None

    def _keeps_limits(self, rows: FloatArray) -> bool:
        """Whether every position is in its range and every difference within its limit, in few steps over all of them
        at once: this is asked in each period. Of a NaN it is not said."""
        form = self._forms.get(len(rows))
        if form is None:
            form = self._forms[len(rows)] = self._form(len(rows))
        taking, centre, reach = form
        within = np.abs(taking @ rows - centre) <= reach
        return bool(np.count_nonzero(within) == within.size)

    def _form(self, count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """For a stream of so many rows: what takes the positions from the fourth on and all differences out of it, and
        how far each of these may be from which value."""
        bounded = np.isfinite(self._lower) & np.isfinite(self._upper)
        centre = np.where(bounded, 0.5 * (self._lower + self._upper), 0.0)
        # One with an end on one side only is never said to be within: it is looked at closer each time.
        endless = np.isinf(self._lower) & np.isinf(self._upper)
        reach = np.where(bounded, self._upper - centre, np.where(endless, np.inf, -1.0))
        taking, centres, reaches = [np.eye(count)[3:]], [centre], [reach]
        differences = np.eye(count)
        for _, allowed in self._allowed:
            differences = differences[1:] - differences[:-1]
            taking.append(differences)
            centres.append(np.zeros_like(centre))
            reaches.append(allowed)
        rows = [len(part) for part in taking]
        return np.concatenate(taking), np.repeat(centres, rows, axis=0), np.repeat(reaches, rows, axis=0)

    def _refuse_rows(self, rows: FloatArray, command: ArmCommand) -> Refusal | None:
        """What is wrong with a stream of positions, one row per period of which the first three are sent already; None
        when it may go on all the same."""
        refusal = self._refuse_ranges(rows[2:-1], rows[3:])
        if refusal is not None:
            return refusal
        differences = rows
        for what, allowed in self._allowed:
            differences = differences[1:] - differences[:-1]
            reached = np.abs(differences)
            # Not "greater than the limit", so that a NaN is refused too.
            if not (reached <= allowed).all():
                if not np.isfinite(rows).all():
                    return Refusal(CODE, f"a joint command is not finite: {command.position.tolist()}", True)
                return self._refuse(what, reached > allowed, reached / allowed)
        return None

    def _refuse_ranges(self, earlier: FloatArray, later: FloatArray) -> Refusal | None:
        """A joint that was found outside its range may come back into it, never go farther out."""
        low = np.minimum(self._lower, earlier) - _ROUNDING
        high = np.maximum(self._upper, earlier) + _ROUNDING
        outside = (later < low) | (later > high)
        return self._refuse("range", outside, np.maximum(later / high, later / low)) if outside.any() else None

    def _refuse(self, what: str, wrong: NDArray[np.bool_], shares: FloatArray) -> Refusal:
        row, joint = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        return Refusal(
            CODE,
            f"a joint command or its brake would break the {what} limit of {self._names[joint]} "
            f"({shares[row, joint]:.2f} of it): not sent, the arm brakes",
            True,
        )


def refuse_delta(
    delta: FloatArray,
    targets: Sequence[FloatArray],
    config: ControllerConfig,
    since_last_s: float | None,
) -> Refusal | None:
    """The guard of an arm that takes deltas: why a command must not be sent, or None.

    Args:
        delta: (7,) as it would go out.
        targets: each (3,), m, base frame: where the arm's target may be when it arrives.
        since_last_s: since the last command; None for the first one.
    """
    if not np.isfinite(delta).all():
        return _refusal(f"it is not finite: {delta.tolist()}")
    scale = config.bring_up_scale
    for part, step, speed, unit in (
        (TRANSLATION, config.max_step_translation_m, config.max_speed_m_s, "m"),
        (ROTATION, config.max_step_rotation_rad, config.max_angular_speed_rad_s, "rad"),
    ):
        allowed = scale * min(step, speed * motion_time_s(since_last_s, config))
        length = math.sqrt(delta[part].dot(delta[part]))
        if length > allowed * (1.0 + _RELATIVE):
            return _refusal(f"its step is {length:.4g} {unit}, {allowed:.4g} {unit} is allowed")
    if not 0.0 <= delta[GRIPPER] <= 1.0:
        return _refusal(f"its gripper opening is {delta[GRIPPER]:.4g}, not in 0 ... 1")
    way, low, high = delta[TRANSLATION].tolist(), config.lowest_corner_m, config.workspace_max_m
    for target in targets:
        for axis, at in enumerate(target.tolist()):
            if not min(low[axis], at) - _ROUNDING <= at + way[axis] <= max(high[axis], at) + _ROUNDING:
                end = np.round(target + delta[TRANSLATION], 4).tolist()
                return _refusal(f"it could lead the target out of the workspace, to {end} m")
    if since_last_s is not None and since_last_s < config.command_interval_s * (1.0 - 2.0 * _RELATIVE):
        return _refusal(
            f"it comes {since_last_s:.3f} s after the last one, {config.command_interval_s:g} s is the least"
        )
    return None


def _refusal(why: str) -> Refusal:
    return Refusal(CODE, f"a command was not sent: {why}", True)
