"""Where launch writes: the terminal, and log files in a directory of their own per launch."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TextIO

_SEVERITY_COLOURS = {
    "DEBUG": "\033[32m",
    "WARN": "\033[33m",
    "WARNING": "\033[33m",
    "ERROR": "\033[31m",
    "FATAL": "\033[31m",
    "CRITICAL": "\033[31m",
}
# One per process, in turn: cyan, magenta, blue, green and their bright variants. Red and yellow mean severities.
_PROCESS_COLOURS = ("\033[36m", "\033[35m", "\033[34m", "\033[32m", "\033[96m", "\033[95m", "\033[94m", "\033[92m")
_RESET = "\033[0m"
_LOGGED_SEVERITY = re.compile(r"\[(DEBUG|WARN|WARNING|ERROR|FATAL)\]")
_ESCAPES = re.compile(r"\033\[[0-9;]*m")


def log_root() -> Path:
    """Directory below which ROS programs log: $ROS_LOG_DIR, else $ROS_HOME/log, else ~/.ros/log."""
    if os.environ.get("ROS_LOG_DIR"):
        return Path(os.environ["ROS_LOG_DIR"]).expanduser()
    if os.environ.get("ROS_HOME"):
        return Path(os.environ["ROS_HOME"]).expanduser() / "log"
    return Path("~/.ros/log").expanduser()


def wants_colour(stream: TextIO) -> bool:
    """Return whether coloured text suits the stream; RCUTILS_COLORIZED_OUTPUT=0/1 and NO_COLOR override."""
    forced = os.environ.get("RCUTILS_COLORIZED_OUTPUT")
    if forced in ("0", "1"):
        return forced == "1"
    return not os.environ.get("NO_COLOR") and stream.isatty()


class LaunchConfig:
    """Where this launch logs. The directory is made at first use, named after time, host and process."""

    def __init__(self) -> None:
        self._log_dir: str | None = None
        self._files: dict[str, TextIO] = {}
        self.level = logging.INFO

    @property
    def log_dir(self) -> str:
        """Directory of this launch's log files."""
        if self._log_dir is None:
            now = time.time()
            stamp = time.strftime("%Y-%m-%d-%H-%M-%S", time.localtime(now)) + f"-{int(now % 1 * 1e6):06d}"
            path = log_root() / f"{stamp}-{socket.gethostname()}-{os.getpid()}"
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OSError(
                    f"cannot make the folder for logs, {path}: {error.strerror}; set ROS_LOG_DIR to a folder that can "
                    "be written"
                ) from error
            self._log_dir = str(path)
        return self._log_dir

    @log_dir.setter
    def log_dir(self, value: str) -> None:
        os.makedirs(value, exist_ok=True)
        self._log_dir = value

    def write(self, file_name: str, line: str) -> None:
        """Append a line, with the time in seconds since the epoch, to one of the log files.

        A full disk or a directory that is gone costs the line, not the launch.
        """
        try:
            file = self._files.get(file_name)
            if file is None:
                path = os.path.join(self.log_dir, file_name)
                file = self._files[file_name] = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 kept open
            file.write(f"{time.time():.7f} {_ESCAPES.sub('', line)}\n")
        except OSError:
            return

    def close(self) -> None:
        """Close the log files; later lines go to a new directory."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()
        self._files.clear()
        self._log_dir = None


launch_config = LaunchConfig()

_PATIENCE_S = 0.2
_MAX_WAITING_LINES = 1000


class _Screen:
    """Writes lines to stdout from a thread of its own, so that a terminal that takes none (Ctrl-S, a dead network under
    ssh) holds up nothing but its own lines. While all is well a line is on the screen when `write` returns."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stuck = False

    def write(self, line: str) -> None:
        """Show a line. Of those that wait too long for the terminal, the newest are dropped."""
        with self._changed:
            if len(self._lines) >= _MAX_WAITING_LINES:
                return
            self._lines.append(line)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="launch screen", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            if not self._stuck:
                self._stuck = not self._changed.wait_for(lambda: not self._lines, _PATIENCE_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                line = self._lines[0]
            # A terminal that is closed, or a pipe without a reader, is no reason to stop a robot.
            with contextlib.suppress(OSError, ValueError):
                _write_whole(line)
            with self._changed:
                self._lines.popleft()
                if not self._lines:
                    self._stuck = False
                self._changed.notify_all()


def _write_whole(line: str) -> None:
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # stdout is something in memory
        sys.stdout.write(line)
        return
    # Not through stdout's buffer: its lock would be held while the terminal takes nothing, also when the process ends.
    data = line.encode(sys.stdout.encoding or "utf-8", errors="replace")
    while data:
        data = data[os.write(descriptor, data) :]


_screen = _Screen()


def write_screen(line: str, severity: str | None = None, process: tuple[str, int] | None = None) -> None:
    """Write a line to stdout, coloured by severity on a terminal.

    Without `severity` the line's own marks count ("[WARN] …"), and a line that brings colours of its own is kept.
    With the name and number of a process, "[name]" at the beginning of the line has the process's own colour.
    A stdout that is closed (`ros2 launch … | head`, a terminal that is gone) or takes nothing costs the line only.
    """
    if severity is None and "\033" not in line:
        found = _LOGGED_SEVERITY.search(line)
        severity = found.group(1) if found else None
    if wants_colour(sys.stdout):
        head = f"[{process[0]}]" if process is not None and line.startswith(f"[{process[0]}]") else ""
        colour = _SEVERITY_COLOURS.get(severity or "")
        line = line[len(head) :]
        line = f"{colour}{line}{_RESET}" if colour else line
        if process is not None and head:
            line = f"{_PROCESS_COLOURS[process[1] % len(_PROCESS_COLOURS)]}{head}{_RESET}{line}"
    _screen.write(line + "\n")


class _LaunchHandler(logging.Handler):
    """Sends launch's own messages to the screen and to launch.log."""

    def emit(self, record: logging.LogRecord) -> None:
        name = record.name.removeprefix("rclpy_dds_launch.")
        line = f"[{record.levelname}] [{name}]: {record.getMessage()}"
        write_screen(line, record.levelname)
        launch_config.write("launch.log", line)


def get_logger(name: str = "launch") -> logging.Logger:
    """Return the logger whose messages appear as `[LEVEL] [name]: message`."""
    base = logging.getLogger("rclpy_dds_launch")
    if not base.handlers:
        base.addHandler(_LaunchHandler())
        base.propagate = False
    base.setLevel(launch_config.level)
    return base.getChild(name)
