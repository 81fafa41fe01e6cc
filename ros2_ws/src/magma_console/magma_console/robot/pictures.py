"""The newest pictures, encoded once for all who look. Any thread may call anything."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

HEAD = struct.Struct("<qd")
"""Before each picture: its capture time in nanoseconds, which names it, and the time at which it was encoded, in
seconds; both since 1970."""


@dataclass(frozen=True)
class _Waiting:
    number: int
    stamp_ns: int
    decode: Callable[[], NDArray[np.uint8]]


class NewestPicture:
    """Of one topic. What nobody looks at is neither decoded nor encoded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._encoding = threading.Lock()
        self._waiting: _Waiting | None = None
        self._encoded: tuple[int, bytes] | None = None
        self._number = 0
        self.heard_s: float | None = None
        """when the last one came, steady clock"""

    def put(self, stamp_ns: int, decode: Callable[[], NDArray[np.uint8]], now_s: float) -> None:
        """Takes a picture.

        Args:
            decode: gives its pixels (H, W, 3) RGB, whenever somebody looks; may raise ValueError.
        """
        with self._lock:
            self._number += 1
            self._waiting = _Waiting(self._number, stamp_ns, decode)
            self.heard_s = now_s

    @property
    def number(self) -> int:
        """Counts the pictures."""
        return self._number

    def encoded(self, quality: int, now_unix_s: Callable[[], float]) -> tuple[int, bytes] | None:
        """Number and message (HEAD, then a JPEG file) of the newest picture; None when there is none, or it cannot be
        shown. Takes a few milliseconds: not for an event loop."""
        with self._encoding:
            with self._lock:
                waiting = self._waiting
            if waiting is None:
                return None
            if self._encoded is not None and self._encoded[0] == waiting.number:
                return self._encoded
            pixels = np.ascontiguousarray(waiting.decode())
            data = simplejpeg.encode_jpeg(pixels, quality=quality, colorspace="RGB", colorsubsampling="420")
            self._encoded = waiting.number, HEAD.pack(waiting.stamp_ns, now_unix_s()) + data
            return self._encoded
