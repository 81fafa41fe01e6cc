"""A terminal that is closed under a program: its end is in good order, and what it prints stops nothing.

The terminal's end comes in two ways. SIGHUP goes to the programs of the terminal's own session, and by itself would
kill them where they stand. Writing to the terminal (or into the pipe to a program that has died) fails from then on,
also for programs that got no signal; were that an error in the midst of a callback, a log line would decide about the
arm.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from typing import Any, TextIO

_READER_GONE = frozenset({errno.EIO, errno.EPIPE, errno.EBADF})

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class HeedlessStream:
    """A text stream whose writes never fail: what cannot be written is dropped, and once nobody can read it any more,
    everything goes to /dev/null."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, or drops, `text`."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Writes what is buffered, or drops it."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._drop(error)

    def _drop(self, error: Exception) -> None:
        if not isinstance(error, OSError) or error.errno not in _READER_GONE:
            return
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def replace_closed_streams() -> None:
    """A program may be started with its standard streams closed (`>&-`, some service managers): Python has none then,
    and the next file or socket that is opened takes the number, and with it what a library prints. /dev/null instead.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives


def survive_hangup() -> None:
    """Makes the end of the terminal an orderly end of this process: SIGHUP does what Ctrl-C does, and output never
    fails. A SIGHUP that is ignored (nohup) stays ignored. Call it in the main thread; elsewhere only output changes."""
    replace_closed_streams()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, HeedlessStream):
            setattr(sys, name, HeedlessStream(stream))
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda number, frame: signal.raise_signal(signal.SIGINT))


def heed_interrupts() -> None:
    """Ctrl-C, SIGTERM and the end of the terminal raise KeyboardInterrupt in the main thread, which calls this, for
    programs that are not `run_node`'s. To be used with rclpy's own handlers off: they end ROS first. What is ignored
    (nohup, a background job) stays ignored."""
    survive_hangup()

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in INTERRUPTS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
