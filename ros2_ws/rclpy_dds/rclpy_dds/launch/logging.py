"""Where launch writes: the terminal, and log files in a directory of their own per launch."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import time
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
            path.mkdir(parents=True, exist_ok=True)
            self._log_dir = str(path)
        return self._log_dir

    @log_dir.setter
    def log_dir(self, value: str) -> None:
        os.makedirs(value, exist_ok=True)
        self._log_dir = value

    def write(self, file_name: str, line: str) -> None:
        """Append a line, with the time in seconds since the epoch, to one of the log files."""
        file = self._files.get(file_name)
        if file is None:
            path = os.path.join(self.log_dir, file_name)
            file = self._files[file_name] = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 kept open
        file.write(f"{time.time():.7f} {_ESCAPES.sub('', line)}\n")

    def close(self) -> None:
        """Close the log files; later lines go to a new directory."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._log_dir = None


launch_config = LaunchConfig()


def write_screen(line: str, severity: str | None = None, process: tuple[str, int] | None = None) -> None:
    """Write a line to stdout, coloured by severity on a terminal.

    Without `severity` the line's own marks count ("[WARN] …"), and a line that brings colours of its own is kept.
    With the name and number of a process, "[name]" at the beginning of the line has the process's own colour.
    A closed stdout (`ros2 launch … | head`) is no reason to stop a robot, so it is ignored.
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
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        pass


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
