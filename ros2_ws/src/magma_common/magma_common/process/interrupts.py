"""SIGINT and SIGTERM end a node while ROS still works, so that its last word, such as the brake, is sent."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """What SIGINT and SIGTERM do while a node is made, while it spins, and while it ends.

    rclpy's own handlers end ROS first, and then nothing can be published any more. Here ROS stays until the node has
    ended. The first signal lets the node come to the end of its making, or of a callback: an exception in the midst of
    one may be swallowed there, and half a node cannot be closed. The next one raises KeyboardInterrupt, in case that
    takes too long. Once the end has begun nothing disturbs it.
    """

    def __init__(self) -> None:
        """Takes the signals over; in the main thread only, elsewhere none can be had."""
        self._stop: Callable[[], object] | None = None
        self._told = False
        """whether there has been a signal, in the listening thread's view"""
        self._passed = False
        """whether the main thread has let a signal pass"""
        self._ending = False
        self._main = threading.current_thread() is threading.main_thread()
        if not self._main:
            return
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        # An executor waits where Python's handlers do not run; the interpreter writes the signal's number at once.
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()

    def stop_with(self, stop: Callable[[], object]) -> None:
        """From now on the first signal calls `stop`, in another thread and perhaps more than once."""
        self._stop = stop
        if self._told:
            stop()

    def end(self) -> None:
        """The end has begun."""
        self._ending = True

    def close(self) -> None:
        """Gives the signals back."""
        if not self._main:
            return
        try:
            signal.set_wakeup_fd(self._fd_before)
        except (OSError, ValueError):
            # Whoever was told before has closed its end since.
            signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._write.close()
        self._thread.join(1.0)
        self._read.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._ending:
            return
        if self._passed:
            raise KeyboardInterrupt
        self._passed = True

    def _listen(self) -> None:
        while numbers := self._read.recv(64):
            if any(number in (*SIGNALS, signal.SIGHUP) for number in numbers):
                self._told = True
                if self._stop is not None:
                    self._stop()
