"""Judges stamps: too old, from the future, repeated, out of order, or from before a moment that counts; and tells how
old something is by the time it is used.
"""

from __future__ import annotations

from dataclasses import dataclass

from magma_common.process.clocks import NO_CLOCK
from magma_control.safety import Refusal


@dataclass(frozen=True)
class Instant:
    """One moment on the two clocks that matter."""

    steady_s: float
    """steady clock (`magma_common.process.clocks.steady_s`): durations on this machine; nobody can set it"""
    ros_ns: int
    """ROS time: comparable with the stamps in messages"""


def age_s(stamp_ns: int, arrived_s: float, now: Instant) -> float:
    """How old something is that was stamped in ROS time and came at a moment of the steady clock: at least as old as
    either clock tells, so that one that is set back makes nothing younger."""
    return max(now.steady_s - arrived_s, (now.ros_ns - stamp_ns) * 1e-9)


class StampGate:
    """Lets each stamp of one stream through at most once, in order, and only while it is fresh."""

    def __init__(self, noun: str, code_prefix: str) -> None:
        """
        Args:
            noun: what is stamped, for the texts ("frame").
            code_prefix: begins the refusal codes ("chunk").
        """
        self._noun = noun
        self._prefix = code_prefix
        self._last_ns: int | None = None
        self._not_before: Instant | None = None
        self._not_before_why = ""

    def require_after(self, moment: Instant, why: str) -> None:
        """From now on only what is stamped later than `moment` passes; `why` names that moment in the texts."""
        self._not_before = moment
        self._not_before_why = why

    def require_also_after(self, moment: Instant, why: str) -> None:
        """As `require_after`, but never lifts what a later moment asks for."""
        if self._not_before is None or moment.ros_ns > self._not_before.ros_ns:
            self.require_after(moment, why)

    def refuse(self, stamp_ns: int, now: Instant, max_age_s: float, future_tolerance_s: float) -> Refusal | None:
        """Judges a stamp without taking it; call `accept` once everything else is in order too."""
        age_s = (now.ros_ns - stamp_ns) * 1e-9
        if stamp_ns <= 0:
            return Refusal(f"{self._prefix} without a stamp", f"{self._noun} has no time stamp")
        if age_s < -future_tolerance_s:
            why = NO_CLOCK if now.ros_ns == 0 else "are the clocks in step?"
            return Refusal(
                f"{self._prefix} from the future",
                f"{self._noun} is stamped {-age_s:.2f} s ahead of this machine's clock: {why}",
            )
        tolerance_ns = int(future_tolerance_s * 1e9)
        last_ns = self._last_ns
        if stamp_ns == last_ns:
            return Refusal(
                f"{self._prefix} repeated",
                f"{self._noun} is {age_s:.2f} s old and came before: its stamp is not advancing (source frozen?)",
            )
        if age_s > max_age_s:
            return Refusal(
                f"{self._prefix} too old", f"{self._noun} is {age_s:.2f} s old, at most {max_age_s:g} s is allowed"
            )
        # When the clock was set back, the last stamp lies ahead of now and would block everything until then.
        if last_ns is not None and stamp_ns < last_ns <= now.ros_ns + tolerance_ns:
            return Refusal(
                f"{self._prefix} out of order",
                f"{self._noun} is {(last_ns - stamp_ns) * 1e-9:.3f} s older than the last one",
            )
        gate = self._not_before
        if gate is not None and stamp_ns <= gate.ros_ns:
            clock_set_back = gate.ros_ns > now.ros_ns + tolerance_ns
            # By then whatever was stamped before the gate is too old in any case, whatever the clock says.
            if not (clock_set_back and now.steady_s - gate.steady_s > max_age_s + future_tolerance_s):
                return Refusal(
                    f"{self._prefix} from before {self._not_before_why}",
                    f"{self._noun} is from before {self._not_before_why}: waiting for a newer one",
                )
        return None

    def accept(self, stamp_ns: int) -> None:
        """Takes a stamp: it, and whatever is older, is refused from now on."""
        self._last_ns = stamp_ns
