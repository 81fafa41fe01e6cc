"""Clocks: system, steady and ROS time, the last with an override for simulation."""

import threading
import time as _time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from .clock_type import ClockType
from .context import Context
from .duration import Duration
from .exceptions import NotInitializedException
from .time import Time
from .utilities import get_default_context

__all__ = ["Clock", "ClockChange", "ClockType", "JumpHandle", "JumpThreshold", "ROSClock", "TimeJump"]


class ClockChange(IntEnum):
    """What changed when the time jumped."""

    ROS_TIME_NO_CHANGE = 1
    ROS_TIME_ACTIVATED = 2
    ROS_TIME_DEACTIVATED = 3
    SYSTEM_TIME_NO_CHANGE = 4


class JumpThreshold:
    """From which jump on a callback is called."""

    def __init__(
        self, *, min_forward: Duration | None, min_backward: Duration | None, on_clock_change: bool = True
    ) -> None:
        """
        Args:
            min_forward: call when the time jumped forward by at least this; None: never.
            min_backward: call when the time jumped backward by at least this (a negative duration); None: never.
            on_clock_change: call when ROS time is switched on or off.

        Raises:
            ValueError: a threshold has the wrong sign, or all are off.
        """
        if min_forward is not None and min_forward.nanoseconds <= 0:
            raise ValueError("min_forward must be a positive non-zero duration")
        if min_backward is not None and min_backward.nanoseconds >= 0:
            raise ValueError("min_backward must be a negative non-zero duration")
        if min_forward is None and min_backward is None and not on_clock_change:
            raise ValueError("At least one threshold must be enabled")
        self.min_forward = min_forward
        self.min_backward = min_backward
        self.on_clock_change = on_clock_change


class TimeJump:
    """A jump that happened."""

    def __init__(self, clock_change: ClockChange, delta: Duration) -> None:
        self._clock_change = clock_change
        self._delta = delta

    @property
    def clock_change(self) -> ClockChange:
        """Whether ROS time was switched."""
        return self._clock_change

    @property
    def delta(self) -> Duration:
        """New time minus old time."""
        return self._delta


class JumpHandle:
    """A registered jump callback."""

    def __init__(
        self,
        *,
        clock: "Clock",
        threshold: JumpThreshold,
        pre_callback: Callable[[], None] | None,
        post_callback: Callable[[TimeJump], None] | None,
    ) -> None:
        if pre_callback is None and post_callback is None:
            raise ValueError("One of pre_callback or post_callback must be callable")
        self._clock = clock
        self.threshold = threshold
        self.pre_callback = pre_callback
        self.post_callback = post_callback

    def unregister(self) -> None:
        """Stop being called."""
        self._clock._remove_jump_handle(self)

    def __enter__(self) -> "JumpHandle":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.unregister()

    def _applies(self, jump: TimeJump) -> bool:
        changed = jump.clock_change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED)
        if changed:
            return self.threshold.on_clock_change
        forward, backward = self.threshold.min_forward, self.threshold.min_backward
        return (forward is not None and jump.delta >= forward) or (backward is not None and jump.delta <= backward)


class Clock:
    """A clock. ``Clock(clock_type=ClockType.ROS_TIME)`` is a :class:`ROSClock`."""

    def __new__(cls, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> "Clock":
        if not isinstance(clock_type, ClockType):
            raise TypeError("Clock type must be a ClockType enum")
        return super().__new__(ROSClock if clock_type is ClockType.ROS_TIME else cls)

    def __init__(self, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> None:
        self._clock_type = clock_type
        self._lock = threading.Lock()
        self._jump_handles: list[JumpHandle] = []
        self._changed = threading.Condition()

    @property
    def clock_type(self) -> ClockType:
        """Kind of clock."""
        return self._clock_type

    def __repr__(self) -> str:
        return f"Clock(clock_type={self._clock_type.name})"

    def _now_ns(self) -> int:
        return _time.monotonic_ns() if self._clock_type is ClockType.STEADY_TIME else _time.time_ns()

    def now(self) -> Time:
        """Return the current time of this clock."""
        return Time(nanoseconds=self._now_ns(), clock_type=self._clock_type)

    def create_jump_callback(
        self,
        threshold: JumpThreshold,
        *,
        pre_callback: Callable[[], None] | None = None,
        post_callback: Callable[[TimeJump], None] | None = None,
    ) -> JumpHandle:
        """Register functions to be called before and after a jump of the time."""
        handle = JumpHandle(clock=self, threshold=threshold, pre_callback=pre_callback, post_callback=post_callback)
        with self._lock:
            self._jump_handles.append(handle)
        return handle

    def _remove_jump_handle(self, handle: JumpHandle) -> None:
        with self._lock:
            if handle in self._jump_handles:
                self._jump_handles.remove(handle)

    def sleep_until(self, until: Time, context: Context | None = None) -> bool:
        """Sleep until the clock reaches ``until``.

        Returns:
            False when the context was shut down or the source of ROS time changed meanwhile.

        Raises:
            ValueError: ``until`` is of another kind of clock.
            NotInitializedException: the context is not initialised.
        """
        if until.clock_type != self._clock_type:
            raise ValueError("until's clock type does not match this clock's type")
        context = context or get_default_context()
        if not context.ok():
            raise NotInitializedException()
        context.add_wakeup(self._notify)
        switched = []
        handle = self.create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=None, on_clock_change=True),
            post_callback=lambda jump: switched.append(jump),
        )
        try:
            with self._changed:
                while context.ok() and not switched:
                    left = (until.nanoseconds - self._now_ns()) * 1e-9
                    if left <= 0:
                        return True
                    self._changed.wait(None if self._is_simulated() else left)
            return False
        finally:
            handle.unregister()

    def sleep_for(self, rel_time: Duration, context: Context | None = None) -> bool:
        """Sleep for a duration of this clock; see :meth:`sleep_until`."""
        return self.sleep_until(self.now() + rel_time, context)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _is_simulated(self) -> bool:
        return False


class ROSClock(Clock):
    """ROS time: system time, or what ``/clock`` says while ``use_sim_time`` is set."""

    def __new__(cls) -> "ROSClock":
        return object.__new__(cls)

    def __init__(self, *, clock_type: ClockType = ClockType.ROS_TIME) -> None:
        super().__init__(clock_type=ClockType.ROS_TIME)
        self._active = False
        self._override_ns = 0

    def _now_ns(self) -> int:
        return self._override_ns if self._active else _time.time_ns()

    def _is_simulated(self) -> bool:
        return self._active

    @property
    def ros_time_is_active(self) -> bool:
        """Whether the time is overridden."""
        return self._active

    def _set_ros_time_is_active(self, enabled: bool) -> None:
        if enabled == self._active:
            return
        before = self._now_ns()
        change = ClockChange.ROS_TIME_ACTIVATED if enabled else ClockChange.ROS_TIME_DEACTIVATED
        after = self._override_ns if enabled else _time.time_ns()
        self._jump(TimeJump(change, Duration(nanoseconds=after - before)), lambda: setattr(self, "_active", enabled))

    def set_ros_time_override(self, time: Time) -> None:
        """Set the time that this clock shows while ROS time is active."""
        if not isinstance(time, Time):
            raise TypeError(f"Time must be specified as rclpy.time.Time. Received type: {type(time)}")
        nanoseconds = time.nanoseconds

        def apply() -> None:
            self._override_ns = nanoseconds

        if self._active:
            delta = Duration(nanoseconds=nanoseconds - self._override_ns)
            self._jump(TimeJump(ClockChange.ROS_TIME_NO_CHANGE, delta), apply)
        else:
            apply()

    def _jump(self, jump: TimeJump, apply: Callable[[], None]) -> None:
        with self._lock:
            handles = [handle for handle in self._jump_handles if handle._applies(jump)]
        for handle in handles:
            if handle.pre_callback is not None:
                handle.pre_callback()
        apply()
        for handle in handles:
            if handle.post_callback is not None:
                handle.post_callback(jump)
        self._notify()
