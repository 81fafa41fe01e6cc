"""Stops the arm when the controller's own threads stand still.

It runs in a thread of its own, takes no lock that the others hold, and knows nothing of ROS. A process that as a whole
was not run for a while (SIGSTOP, a suspended machine) is not mistaken for one whose callbacks hang: the watchdog
notices that it was not run either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_LOOKS_PER_TIMEOUT = 10


class Watchdog:
    """Expects each of several threads to `beat` at least once per timeout."""

    def __init__(
        self,
        timeout_s: float,
        on_trip: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            timeout_s: longest silence of a watched thread.
            on_trip: called from the watchdog's thread with the reason, once per trip.
            clock: steady time in seconds.
        """
        self.timeout_s = timeout_s
        self._on_trip = on_trip
        self._clock = clock
        self._last_s: dict[str, float] = {}
        self._looked_s = clock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self.tripped: str | None = None
        """why it tripped; None while all is well"""

    def watch(self, who: str) -> None:
        """Expects `who` from now on."""
        self._last_s[who] = self._clock()

    def beat(self, who: str) -> None:
        """A sign of life of a watched thread."""
        self._last_s[who] = self._clock()

    def start(self) -> None:
        """Begins to look."""
        self._looked_s = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """Ends; nothing is stopped by it any more."""
        self._ended.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(2.0)

    def look(self) -> str | None:
        """One look: trips when a watched thread was silent for too long. Returns why, or None."""
        now_s = self._clock()
        asleep_s, self._looked_s = now_s - self._looked_s, now_s
        if asleep_s > 0.5 * self.timeout_s:
            # This thread was not run either: everyone gets a new chance.
            for who in list(self._last_s):
                self._last_s[who] = now_s
        silent = {who: now_s - last_s for who, last_s in list(self._last_s.items())}
        late = {who: silent_s for who, silent_s in silent.items() if silent_s > self.timeout_s}
        if not late:
            self.tripped = None
            return None
        reason = "; ".join(f"{who} stood still for {silent_s:.1f} s" for who, silent_s in sorted(late.items()))
        first = self.tripped is None
        self.tripped = reason
        if first:
            self._on_trip(reason)
        return reason

    def _run(self) -> None:
        while not self._ended.wait(self.timeout_s / _LOOKS_PER_TIMEOUT):
            self.look()
