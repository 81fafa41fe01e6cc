"""Timers and rates."""

import threading
from collections.abc import Callable
from typing import Any

from .callback_groups import CallbackGroup
from .clock import Clock, ClockChange, JumpThreshold, TimeJump
from .clock_type import ClockType
from .context import Context
from .duration import Duration
from .exceptions import InvalidHandle, ROSInterruptException
from .utilities import get_default_context


class Timer:
    """Calls its callback periodically by a clock; made by ``Node.create_timer``."""

    def __init__(
        self,
        callback: Callable[..., Any] | None,
        callback_group: CallbackGroup | None,
        timer_period_ns: int,
        clock: Clock,
        *,
        context: Context | None = None,
        autostart: bool = True,
    ) -> None:
        """
        Args:
            callback: function to call.
            callback_group: its group.
            timer_period_ns: period in nanoseconds.
            clock: clock that decides when the period is over.
            context: the context whose executors to wake.
            autostart: start at once; otherwise with ``reset``.

        Raises:
            ValueError: the period is negative.
        """
        if timer_period_ns < 0:
            raise ValueError(f"The timer period must not be negative, it is {timer_period_ns} ns")
        self._context = context or get_default_context()
        self._clock = clock
        self._period = int(timer_period_ns)
        self.callback = callback
        self.callback_group = callback_group
        self._lock = threading.Lock()
        self._canceled = not autostart
        self._destroyed = False
        now = clock.now().nanoseconds
        self._last_call = now
        self._next_call = now + self._period
        self._jump_handle = None
        if clock.clock_type is ClockType.ROS_TIME:
            self._jump_handle = clock.create_jump_callback(
                JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True),
                post_callback=self._on_jump,
            )

    def _on_jump(self, jump: TimeJump) -> None:
        with self._lock:
            now = self._clock._now_ns()
            if jump.clock_change is not ClockChange.ROS_TIME_NO_CHANGE or now < self._last_call:
                self._last_call = now
                self._next_call = now + self._period
        self._context.wake()

    @property
    def clock(self) -> Clock:
        """The timer's clock."""
        return self._clock

    @property
    def handle(self) -> "Timer":
        """The timer itself: there is no separate C object here."""
        return self

    @property
    def timer_period_ns(self) -> int:
        """Period in nanoseconds; setting it takes effect with the next call."""
        return self._period

    @timer_period_ns.setter
    def timer_period_ns(self, value: int) -> None:
        if value < 0:
            raise ValueError(f"The timer period must not be negative, it is {value} ns")
        with self._lock:
            self._period = int(value)
        self._context.wake()

    def is_ready(self) -> bool:
        """Return whether the callback is due."""
        return not self._canceled and self._clock._now_ns() >= self._next_call

    def is_canceled(self) -> bool:
        """Return whether the timer is cancelled."""
        return self._canceled

    def cancel(self) -> None:
        """Stop calling until ``reset``."""
        if self._destroyed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested (the timer is gone)")
        self._canceled = True

    def reset(self) -> None:
        """Start again: the next call is one period from now."""
        if self._destroyed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested (the timer is gone)")
        with self._lock:
            self._next_call = self._clock._now_ns() + self._period
            self._canceled = False
        self._context.wake()

    def time_since_last_call(self) -> int:
        """Return nanoseconds since the last call."""
        return self._clock._now_ns() - self._last_call

    def time_until_next_call(self) -> int | None:
        """Return nanoseconds until the next call is due (negative: overdue), or None when cancelled."""
        return None if self._canceled else self._next_call - self._clock._now_ns()

    def take(self) -> tuple | None:
        """Note the call and compute the next one; None when it is not due."""
        with self._lock:
            now = self._clock._now_ns()
            if self._canceled or self._destroyed or now < self._next_call:
                return None
            self._last_call = now
            self._next_call += self._period
            if self._next_call < now:
                # Missed calls are skipped, the phase is kept.
                missed = 0 if self._period == 0 else 1 + (now - self._next_call) // self._period
                self._next_call = now if self._period == 0 else self._next_call + missed * self._period
            return ()

    def run(self) -> Any:
        """Call the callback."""
        return self.callback() if self.callback is not None else None

    def destroy(self) -> None:
        """Destroy the timer; use ``Node.destroy_timer``."""
        self._destroyed = self._canceled = True
        if self._jump_handle is not None:
            self._jump_handle.unregister()
            self._jump_handle = None

    def __enter__(self) -> "Timer":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.destroy()


class Rate:
    """Sleeps to keep a loop at a frequency; made by ``Node.create_rate``. An executor must spin in another thread."""

    def __init__(self, timer: Timer, *, context: Context) -> None:
        self._timer = timer
        self._context = context
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._destroyed = False
        self._waiting = 0
        timer.callback = self._wake
        context.add_wakeup(self._on_wakeup)

    def _wake(self) -> None:
        self._event.set()

    def _on_wakeup(self) -> None:
        if not self._context.ok():
            self._event.set()

    def sleep(self) -> None:
        """Sleep until the next tick.

        Raises:
            ROSInterruptException: the context was shut down or the rate destroyed.
        """
        with self._lock:
            self._waiting += 1
        try:
            while True:
                self._check()
                if self._event.wait(timeout=1.0):
                    if self._context.ok() and not self._destroyed:
                        return
                    self._check()
        finally:
            with self._lock:
                self._waiting -= 1
                if self._waiting == 0:
                    self._event.clear()

    def _check(self) -> None:
        if not self._context.ok() or self._destroyed:
            raise ROSInterruptException()

    def destroy(self) -> None:
        """Destroy the rate and wake who sleeps; use ``Node.destroy_rate``."""
        self._destroyed = True
        self._event.set()
