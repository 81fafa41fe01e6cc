"""Log lines written by a thread of their own, so that a terminal or pipe that takes none holds up nobody."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

_MOST_WAITING = 1000


class LogThread:
    """Hands lines on in order; when too many wait, the newest are dropped."""

    def __init__(self, write: Callable[[str, str], None]) -> None:
        """
        Args:
            write: writes one line of a level ("info", "warning", "error"); called from the thread.
        """
        self._write = write
        self._lines: queue.Queue[tuple[str, str] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, level: str, line: str) -> None:
        """Takes a line; never waits."""
        try:
            self._lines.put_nowait((level, line))
        except queue.Full:
            return

    def close(self, patience_s: float = 1.0) -> None:
        """Ends once every line is written, or after some patience."""
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(patience_s)

    def _run(self) -> None:
        while (item := self._lines.get()) is not None:
            self._write(*item)
