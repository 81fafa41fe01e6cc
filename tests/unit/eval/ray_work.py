"""Work for tests of jobs on a cluster: quick, and deadly on demand."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Squares:
    """Squares numbers; ends its process at one, the first time; refuses another.

    Args:
        marker: file that tells that the process has ended once.
        deadly, wrong: the two numbers.
    """

    marker: Path
    deadly: int = -1
    wrong: int = -1

    def facts(self) -> dict[str, str]:
        return {"renderer": "one"}

    def begin(self) -> None:
        pass

    def do(self, job: int) -> int:
        if job == self.deadly and not self.marker.exists():
            self.marker.touch()
            os._exit(1)
        if job == self.wrong:
            raise ValueError(f"{job} is wrong")
        return job * job
