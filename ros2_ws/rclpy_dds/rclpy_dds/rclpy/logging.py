"""Logging: levels per logger, console output in the format of ROS 2, and ``/rosout``.

Environment variables: ``RCUTILS_CONSOLE_OUTPUT_FORMAT``, ``RCUTILS_COLORIZED_OUTPUT``, ``RCUTILS_LOGGING_USE_STDOUT``,
``RCUTILS_LOGGING_BUFFERED_STREAM``.
"""

import os
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING, Any

from .impl.logging_severity import LoggingSeverity

if TYPE_CHECKING:
    from .impl.rcutils_logger import RcutilsLogger

__all__ = [
    "LoggingSeverity",
    "clear_config",
    "get_logger",
    "get_logger_effective_level",
    "get_logger_level",
    "get_logging_severity_from_string",
    "initialize",
    "set_logger_level",
    "shutdown",
]

DEFAULT_FORMAT = "[{severity}] [{time}] [{name}]: {message}"
_COLOURS = {
    LoggingSeverity.DEBUG: "\033[32m",
    LoggingSeverity.INFO: "",
    LoggingSeverity.WARN: "\033[33m",
    LoggingSeverity.ERROR: "\033[31m",
    LoggingSeverity.FATAL: "\033[31m",
}
_RESET = "\033[0m"
_TOKEN = re.compile(r"\{(\w+)\}")

_lock = threading.RLock()
_levels: dict[str, LoggingSeverity] = {}
_default_level = LoggingSeverity.INFO
_console = True
_rosout_enabled = True
_sinks: dict[str, weakref.WeakMethod] = {}


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def configure(arguments: Any) -> None:
    """Apply log levels and switches of the command line."""
    global _default_level, _console, _rosout_enabled
    with _lock:
        if arguments.default_log_level is not None:
            _default_level = arguments.default_log_level
        _levels.update(arguments.log_levels)
        _console = arguments.stdout
        _rosout_enabled = arguments.rosout


def initialize() -> None:
    """Initialise logging; nothing to do, it always works."""


def shutdown() -> None:
    """Shut logging down; nothing to do."""


def clear_config() -> None:
    """Forget all levels that were set."""
    global _default_level
    with _lock:
        _levels.clear()
        _default_level = LoggingSeverity.INFO


def get_logger(name: str) -> "RcutilsLogger":
    """Return a logger.

    Raises:
        ValueError: the name is empty.
    """
    from .impl.rcutils_logger import RcutilsLogger

    if not name:
        raise ValueError("Logger name must not be empty.")
    return RcutilsLogger(name)


def set_logger_level(name: str, level: LoggingSeverity | int, detailed_error: bool = False) -> None:
    """Set the level of a logger; the empty name sets the default. ``UNSET`` takes the parent's."""
    global _default_level
    severity = LoggingSeverity(level)
    with _lock:
        if not name:
            _default_level = severity if severity else LoggingSeverity.INFO
        elif severity:
            _levels[name] = severity
        else:
            _levels.pop(name, None)


def get_logger_level(name: str) -> LoggingSeverity:
    """Return the level that was set for a logger, ``UNSET`` if none."""
    return _levels.get(name, LoggingSeverity.UNSET) if name else _default_level


def get_logger_effective_level(name: str) -> LoggingSeverity:
    """Return the level of a logger, or of its nearest parent that has one, or the default."""
    while name:
        level = _levels.get(name)
        if level is not None:
            return level
        name = name.rpartition(".")[0]
    return _default_level


def get_logging_severity_from_string(log_severity: str) -> LoggingSeverity:
    """Return a severity by name, for example ``"WARN"``.

    Raises:
        RuntimeError: unknown name.
    """
    try:
        return LoggingSeverity[log_severity.upper()]
    except KeyError:
        raise RuntimeError(f"unknown log severity {log_severity!r}") from None


def get_logging_directory() -> str:
    """Log files are not written."""
    raise NotImplementedError("rclpy_dds does not write log files, so there is no logging directory")


def add_sink(name: str, sink: Callable[[int, LoggingSeverity, str, str, FrameType], None]) -> None:
    """Send what logger ``name`` and its children log to a bound method (held weakly) as well (``/rosout``)."""
    with _lock:
        _sinks[name] = weakref.WeakMethod(sink)


def remove_sink(name: str, sink: Callable) -> None:
    """Undo :func:`add_sink`."""
    with _lock:
        if name in _sinks and _sinks[name]() in (None, sink):
            del _sinks[name]


def inherit(parent: str, child: str) -> None:
    """A child logger's messages go to its parent's sink: :func:`emit` looks along the name, nothing is stored."""


def emit(message: str, severity: LoggingSeverity, name: str, frame: FrameType) -> None:
    """Write a message to the console and to the sink of its logger."""
    now = time.time_ns()
    if _console:
        _write(now, severity, name, message, frame)
    if not _rosout_enabled:
        return
    sink_name = name
    while sink_name:
        sink = _sinks.get(sink_name)
        if sink is not None:
            function = sink()
            if function is not None:
                function(now, severity, name, message, frame)
            return
        sink_name = sink_name.rpartition(".")[0]


def _write(now: int, severity: LoggingSeverity, name: str, message: str, frame: FrameType) -> None:
    stream = sys.stdout if os.environ.get("RCUTILS_LOGGING_USE_STDOUT") == "1" else sys.stderr
    if stream is None or stream.closed:
        return
    values = {
        "severity": severity.name,
        "name": name,
        "message": message,
        "function_name": frame.f_code.co_name,
        "file_name": frame.f_code.co_filename,
        "line_number": str(frame.f_lineno),
        "time": f"{now // 10**9}.{now % 10**9:09d}",
        "time_as_nanoseconds": str(now),
    }
    form = os.environ.get("RCUTILS_CONSOLE_OUTPUT_FORMAT") or DEFAULT_FORMAT
    if "{date_time_with_ms}" in form:
        moment = datetime.fromtimestamp(now / 1e9)
        values["date_time_with_ms"] = f"{moment:%Y-%m-%d %H:%M:%S}.{now % 10**9 // 10**6:03d}"
    text = _TOKEN.sub(lambda found: values.get(found[1], found[0]), form)
    colour = _COLOURS[severity]
    if colour and _use_colour(stream):
        text = f"{colour}{text}{_RESET}"
    try:
        stream.write(text + "\n")
        stream.flush()
    except (OSError, ValueError):
        # The reader of our console is gone: the message still went to /rosout, the node goes on.
        return


def _use_colour(stream: Any) -> bool:
    setting = os.environ.get("RCUTILS_COLORIZED_OUTPUT", "")
    return setting == "1" if setting in ("0", "1") else stream.isatty()
