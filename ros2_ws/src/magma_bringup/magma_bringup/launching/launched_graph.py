"""The robot graph as a process of its own, with its output in a file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from magma_bringup.launching.launch_log import why_it_ended

END_TIMEOUT_S = 5.0
"""The graph has so long to end by itself."""


class LaunchedGraph:
    """`ros2 launch magma_bringup robot.launch.py`.

    Args:
        arguments: of the launch file.
        log: file for its output.

    Raises:
        FileNotFoundError: there is no `ros2` command.
    """

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        beside = Path(sys.executable).with_name("ros2")
        command = shutil.which("ros2") or (str(beside) if beside.exists() else None)
        if command is None:
            raise FileNotFoundError("no `ros2` command: activate the environment or source ROS 2")
        self.log = log
        self._file = log.open("w", encoding="utf-8")
        # In a group of its own, so that Ctrl-C reaches this program only, which then ends the graph in good order.
        self._process = subprocess.Popen(
            [command, "launch", "magma_bringup", "robot.launch.py", *arguments],
            stdout=self._file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def running(self) -> bool:
        """Whether the launch is still there."""
        return self._process.poll() is None

    def ended(self) -> str | None:
        """Why the launch has ended by itself; None while it is there."""
        if self.running():
            return None
        return why_it_ended(self.log.read_text(encoding="utf-8", errors="replace").splitlines())

    def end(self) -> None:
        """Asks it to end, and makes it when it does not."""
        for number, patience_s in ((signal.SIGINT, END_TIMEOUT_S), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
            if not self.running():
                break
            # The launch ends its nodes; only when that fails the whole group is meant.
            send = os.kill if number == signal.SIGINT else os.killpg
            try:
                send(self._process.pid, number)
                self._process.wait(timeout=patience_s)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._file.close()
