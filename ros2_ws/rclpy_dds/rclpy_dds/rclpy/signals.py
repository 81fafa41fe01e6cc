"""SIGINT and SIGTERM end the contexts of the process.

Executors wait inside libddsc, where Python's signal handlers do not run. A thread therefore reads the signal numbers
that the interpreter writes to a wake-up socket, and wakes the executors, so that the main thread gets to its handlers.
"""

import contextlib
import os
import signal
import socket
import threading
from enum import IntEnum
from typing import Any

from . import context as _context


class SignalHandlerOptions(IntEnum):
    """Which signal handlers ``init`` installs."""

    NO = 0
    SIGINT = 1
    SIGTERM = 2
    ALL = 3


_lock = threading.RLock()
_installed = SignalHandlerOptions.NO
_previous: dict[int, Any] = {}
_wakeup: "_Wakeup | None" = None


class _Wakeup:
    """The socket pair behind ``signal.set_wakeup_fd`` and the thread that reads from it."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, name="rclpy_signals", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                numbers = self._read.recv(64)
            except OSError:
                return
            if not numbers:
                return
            if self._before != -1:
                # An event loop asked first, such as asyncio's, and would otherwise never hear of a signal again.
                with contextlib.suppress(OSError):
                    os.write(self._before, numbers)
            if any(number in _previous for number in numbers):
                _context.interrupt_all()
            else:
                _context.wake_all()

    def abandon(self) -> None:
        """Close this process' copies of the sockets."""
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._before)
        self._write.close()
        self._read.close()

    def close(self) -> None:
        """Put back the former file descriptor and end the thread."""
        signal.set_wakeup_fd(self._before)
        self._write.close()
        self._thread.join(timeout=1.0)
        self._read.close()


def _after_fork() -> None:
    # The wake-up socket is the parent's: a signal to this process must not end the parent's contexts.
    global _lock, _wakeup, _installed
    _lock = threading.RLock()
    if _wakeup is None:
        return
    _wakeup.abandon()
    _wakeup = None
    for number, previous in list(_previous.items()):
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
        del _previous[number]
    _installed = SignalHandlerOptions.NO


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _handle(number: int, frame: Any) -> Any:
    _context.interrupt_all()
    previous = _previous.get(number)
    if callable(previous):
        return previous(number, frame)
    return None


def get_current_signal_handlers_options() -> SignalHandlerOptions:
    """Return which handlers are installed."""
    return _installed


def install_signal_handlers(options: SignalHandlerOptions = SignalHandlerOptions.ALL) -> None:
    """Install handlers that shut down all contexts and then call the former handler.

    Outside the main thread nothing is installed, because Python does not allow it.
    """
    global _installed, _wakeup
    with _lock:
        if threading.current_thread() is not threading.main_thread():
            return
        if _wakeup is None:
            _wakeup = _Wakeup()
        for flag, number in (
            (SignalHandlerOptions.SIGINT, signal.SIGINT),
            (SignalHandlerOptions.SIGTERM, signal.SIGTERM),
        ):
            if options & flag and number not in _previous:
                _previous[number] = signal.signal(number, _handle)
        _installed = SignalHandlerOptions(_installed | options)


def uninstall_signal_handlers() -> None:
    """Put the former handlers back."""
    global _installed, _wakeup
    with _lock:
        if threading.current_thread() is not threading.main_thread():
            return
        for number, previous in list(_previous.items()):
            if signal.getsignal(number) is _handle:
                signal.signal(number, signal.SIG_DFL if previous is None else previous)
            del _previous[number]
        if _wakeup is not None:
            _wakeup.close()
            _wakeup = None
        _installed = SignalHandlerOptions.NO
