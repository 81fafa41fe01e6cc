"""Percentiles of recent latencies."""

from __future__ import annotations

from collections import deque

import numpy as np


class LatencyWindow:
    """The last `size` values in milliseconds."""

    def __init__(self, size: int = 256) -> None:
        self._values_ms: deque[float] = deque(maxlen=size)

    def add(self, value_ms: float) -> None:
        self._values_ms.append(value_ms)

    def percentile_ms(self, percent: float) -> float:
        """The percentile (0 ... 100) of the values in the window; NaN when it is empty."""
        return float(np.percentile(self._values_ms, percent)) if self._values_ms else float("nan")
