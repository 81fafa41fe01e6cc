"""Loggers."""

import inspect
import os
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from .. import logging as _logging
from ..clock_type import ClockType
from .logging_severity import LoggingSeverity

_THIS_FILE = os.path.normcase(__file__)


def _caller() -> FrameType:
    frame = inspect.currentframe()
    while frame is not None and os.path.normcase(frame.f_code.co_filename) == _THIS_FILE:
        frame = frame.f_back
    if frame is None:
        raise RuntimeError("a log call without a caller")
    return frame


class RcutilsLogger:
    """A named logger.

    Every log function takes, besides the message: ``once=True``; ``skip_first=True``; and
    ``throttle_duration_sec=...`` with ``throttle_time_source_type=<clock>``. They count per line of code.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._contexts: dict[tuple[str, int], dict[str, Any]] = {}

    def get_child(self, name: str) -> "RcutilsLogger":
        """Return the logger ``<this name>.<name>``."""
        if not name:
            raise ValueError("Child logger name must not be empty.")
        child = RcutilsLogger(f"{self.name}.{name}" if self.name else name)
        _logging.inherit(self.name, child.name)
        return child

    def set_level(self, level: LoggingSeverity | int) -> None:
        """Set the lowest severity that is logged."""
        _logging.set_logger_level(self.name, level)

    def get_effective_level(self) -> LoggingSeverity:
        """Return the lowest severity that is logged, from this logger or its parents."""
        return _logging.get_logger_effective_level(self.name)

    def is_enabled_for(self, severity: LoggingSeverity | int) -> bool:
        """Return whether messages of a severity are logged."""
        return int(severity) >= _logging.get_logger_effective_level(self.name)

    def log(
        self,
        message: str,
        severity: LoggingSeverity | int,
        name: str | None = None,
        *,
        once: bool = False,
        skip_first: bool = False,
        throttle_duration_sec: float | None = None,
        throttle_time_source_type: Any = None,
    ) -> bool:
        """Log a message; return whether it was really logged.

        Raises:
            ValueError: the severity is unknown, or the filters of this line differ from those of an earlier call.
        """
        severity = LoggingSeverity(severity)
        name = self.name if name is None else name
        frame = _caller()
        if once or skip_first or throttle_duration_sec is not None:
            place = (frame.f_code.co_filename, frame.f_lineno)
            state = self._contexts.setdefault(place, {"severity": severity, "calls": 0, "logged": False, "last": None})
            if state["severity"] != severity:
                raise ValueError("Logger severity cannot be changed between calls.")
            state["calls"] += 1
            if not self.is_enabled_for(severity):
                return False
            if skip_first and state["calls"] == 1:
                return False
            if once and state["logged"]:
                return False
            if throttle_duration_sec is not None:
                now = _time_of(throttle_time_source_type)
                last = state["last"]
                if last is not None and 0 <= now - last < throttle_duration_sec * 1e9:
                    return False
                state["last"] = now
            state["logged"] = True
        elif not self.is_enabled_for(severity):
            return False
        _logging.emit(str(message), severity, name, frame)
        return True

    def debug(self, message: str, **kwargs: Any) -> bool:
        """Log with severity DEBUG."""
        return self.log(message, LoggingSeverity.DEBUG, **kwargs)

    def info(self, message: str, **kwargs: Any) -> bool:
        """Log with severity INFO."""
        return self.log(message, LoggingSeverity.INFO, **kwargs)

    def warning(self, message: str, **kwargs: Any) -> bool:
        """Log with severity WARN."""
        return self.log(message, LoggingSeverity.WARN, **kwargs)

    warn: Callable[..., bool] = warning

    def error(self, message: str, **kwargs: Any) -> bool:
        """Log with severity ERROR."""
        return self.log(message, LoggingSeverity.ERROR, **kwargs)

    def fatal(self, message: str, **kwargs: Any) -> bool:
        """Log with severity FATAL."""
        return self.log(message, LoggingSeverity.FATAL, **kwargs)


def _time_of(source: Any) -> int:
    if source is None:
        return time.monotonic_ns()
    if isinstance(source, ClockType) or not hasattr(source, "now"):
        raise TypeError("throttle_time_source_type must be a rclpy Clock")
    return source.now().nanoseconds
