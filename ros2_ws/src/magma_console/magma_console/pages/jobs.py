"""Programs that the pages start: recordings' plots and exports, evaluations.

Each is a process of its own, which yields to the robot's; the console's threads only wait for them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NICENESS = 10
MOST_OUTPUT = 20_000
MOST_JOBS = 3
"""At the same time: the arm needs the processor more."""
KEPT = 20


@dataclass
class Job:
    """One program, while it runs and after it."""

    title: str
    process: subprocess.Popen[str]
    output: str = ""
    status: int | None = None
    """exit status; None while it runs"""
    on_end: Callable[[Job], None] = field(default=lambda job: None, repr=False)

    @property
    def last_line(self) -> str:
        """What it said last."""
        lines = self.output.strip().splitlines()
        return lines[-1][:300] if lines else ""


class JobsBusyError(RuntimeError):
    """As many run as may."""


class Jobs:
    """All programs that pages have started. Any thread may call anything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: list[Job] = []

    def start(
        self,
        title: str,
        module: str,
        arguments: Sequence[str],
        on_end: Callable[[Job], None] = lambda job: None,
        alone: bool = False,
    ) -> Job:
        """Starts `python -m module arguments`.

        Args:
            on_end: called in a thread of its own when it has ended.
            alone: in a ROS domain of its own choice, and not in this robot's.

        Raises:
            JobsBusyError: too many run already.
        """
        with self._lock:
            running = sum(job.status is None for job in self._jobs)
            if running >= MOST_JOBS:
                raise JobsBusyError(f"{running} programs run already: wait for one of them to end")
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={name: value for name, value in os.environ.items() if not (alone and name == "ROS_DOMAIN_ID")},
                preexec_fn=_yield_to_others,
            )
            job = Job(title, process, on_end=on_end)
            self._jobs = [*(old for old in self._jobs if old.status is None), job][-KEPT:]
        threading.Thread(target=self._follow, args=(job,), name=title, daemon=True).start()
        return job

    @property
    def running(self) -> list[Job]:
        """Those that have not ended."""
        with self._lock:
            return [job for job in self._jobs if job.status is None]

    def close(self) -> None:
        """Ends all of them."""
        for job in self.running:
            job.process.terminate()

    @staticmethod
    def _follow(job: Job) -> None:
        stream = job.process.stdout
        if stream is not None:
            for line in stream:
                job.output = (job.output + line)[-MOST_OUTPUT:]
        job.status = job.process.wait()
        job.on_end(job)


def _yield_to_others() -> None:
    os.nice(NICENESS)


def inside(folder: Path, name: str) -> Path:
    """The folder `name` directly in `folder`.

    Raises:
        ValueError: any other place.
    """
    path = folder / name
    if not name or path.name != name or name.startswith(".") or not path.is_dir():
        raise ValueError(f"there is no {name[:100]!r} in {folder}")
    return path
