"""A thread that does one thing at a fixed rate and keeps account of how well it kept it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_WINDOW = 2000


@dataclass(frozen=True)
class LoopReport:
    """How a loop keeps its time. Milliseconds; NaN before the first tick."""

    ticks: int
    missed: int
    """periods in which no tick began"""
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    """of the last ticks: how long after its time a tick began"""
    work_p50_ms: float
    work_p99_ms: float
    work_max_ms: float
    """of the last ticks: how long it took"""


class LoopStatistics:
    """Lateness and work of the last ticks, and counts of all. One thread adds, any thread reads."""

    def __init__(self) -> None:
        self._late_ms: deque[float] = deque(maxlen=_WINDOW)
        self._work_ms: deque[float] = deque(maxlen=_WINDOW)
        self._ticks = 0
        self._missed = 0

    def add(self, late_s: float, work_s: float, missed: int) -> None:
        """One tick: how late it began, how long it took, how many periods before it went by without one."""
        self._late_ms.append(late_s * 1e3)
        self._work_ms.append(work_s * 1e3)
        self._ticks += 1
        self._missed += missed

    def report(self) -> LoopReport:
        """The account so far."""
        late, work = np.array(self._late_ms), np.array(self._work_ms)
        if not len(late) or not len(work):
            nan = float("nan")
            return LoopReport(self._ticks, self._missed, nan, nan, nan, nan, nan, nan)
        late_p50, late_p99 = np.percentile(late, [50, 99])
        work_p50, work_p99 = np.percentile(work, [50, 99])
        return LoopReport(
            self._ticks,
            self._missed,
            float(late_p50),
            float(late_p99),
            float(late.max()),
            float(work_p50),
            float(work_p99),
            float(work.max()),
        )


class FixedRateLoop:
    """Calls `work` every period, on a grid of times that does not drift. A period that is missed is not made up for."""

    def __init__(self, period_s: float, work: Callable[[], None], name: str) -> None:
        """
        Args:
            period_s: period in seconds.
            work: what to do; it handles its own errors.
            name: of the thread.
        """
        self._period_s = period_s
        self._work = work
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.statistics = LoopStatistics()

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the present tick; returns when it has ended."""
        self._ended.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(2.0)

    def _run(self) -> None:
        period_s = self._period_s
        due_s = time.monotonic() + period_s
        while not self._ended.is_set():
            wait_s = due_s - time.monotonic()
            if wait_s > 0.0:
                time.sleep(wait_s)
            began_s = time.monotonic()
            missed = int((began_s - due_s) / period_s)
            self._work()
            self.statistics.add(began_s - due_s - missed * period_s, time.monotonic() - began_s, missed)
            due_s += (missed + 1) * period_s
