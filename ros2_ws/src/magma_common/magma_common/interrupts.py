"""SIGINT and SIGTERM end a node while ROS still works, so that its last word, such as the brake, is sent."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Raises KeyboardInterrupt in the main thread at the first signal, and never again.

    rclpy's own handlers end ROS first, and then nothing can be published any more; and a second signal, or Python's own
    handler after rclpy's, may raise in the midst of the end. An executor waits where Python's handlers do not run: a
    thread reads the signal's number, which the interpreter writes at once, and wakes the executor.
    """

    def __init__(self) -> None:
        """Takes the signals over; in the main thread only, elsewhere none can be had."""
        self._ending = False
        self._wake: Callable[[], object] = lambda: None
        self._main = threading.current_thread() is threading.main_thread()
        if not self._main:
            return
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()

    def wake_with(self, wake: Callable[[], object]) -> None:
        """Whom to wake at a signal; called from another thread."""
        self._wake = wake

    def end(self) -> None:
        """The end has begun: nothing interrupts it any more."""
        self._ending = True

    def close(self) -> None:
        """Gives the signals back."""
        if not self._main:
            return
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._write.close()
        self._thread.join(1.0)
        self._read.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._ending:
            self._ending = True
            raise KeyboardInterrupt

    def _listen(self) -> None:
        while self._read.recv(64):
            self._wake()
