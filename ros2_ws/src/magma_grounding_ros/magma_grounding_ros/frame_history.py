"""The camera's last frames by their time, so that a question is answered for the picture that somebody looked at."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np


class FrameGoneError(ValueError):
    """No frame of the time that is asked for; the message says which there are."""


@dataclass(frozen=True)
class Frame:
    """A frame: capture time in nanoseconds, uint8 (H, W, 3) rgb pixels, and the camera's name in /tf."""

    stamp_ns: int
    pixels: np.ndarray
    frame_id: str = ""


class FrameHistory:
    """Keeps as many of the newest frames as fit into so many bytes, one at least. May be used from any thread."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._frames: OrderedDict[int, Frame] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, frame: Frame) -> None:
        """A frame arrived; its pixels must not be written to any more. One that is older than the newest means that
        time was set back: what was kept is of no time that anybody can name now."""
        with self._lock:
            if self._frames and frame.stamp_ns < next(reversed(self._frames)):
                self._frames.clear()
                self._bytes = 0
            before = self._frames.pop(frame.stamp_ns, None)
            self._frames[frame.stamp_ns] = frame
            self._bytes += frame.pixels.nbytes - (before.pixels.nbytes if before is not None else 0)
            while self._bytes > self._most_bytes and len(self._frames) > 1:
                self._bytes -= self._frames.popitem(last=False)[1].pixels.nbytes

    def newest(self) -> Frame:
        """Raises FrameGoneError before the first frame."""
        with self._lock:
            if not self._frames:
                raise FrameGoneError("no frame of the camera has come yet; start the camera, or look why it is silent")
            return next(reversed(self._frames.values()))

    def at(self, stamp_ns: int) -> Frame:
        """The frame of exactly this time; 0 = the newest. Raises FrameGoneError."""
        newest = self.newest()
        if not stamp_ns:
            return newest
        with self._lock:
            if stamp_ns in self._frames:
                return self._frames[stamp_ns]
            oldest_ns = next(iter(self._frames))
        if stamp_ns > newest.stamp_ns:
            raise FrameGoneError(
                f"no frame of {_seconds(stamp_ns)} has come; the newest is of {_seconds(newest.stamp_ns)}"
            )
        if stamp_ns < oldest_ns:
            raise FrameGoneError(
                f"the frame of {_seconds(stamp_ns)} is not kept any more, the oldest is of {_seconds(oldest_ns)}; "
                "look at the live picture again"
            )
        raise FrameGoneError(f"no frame has the stamp {_seconds(stamp_ns)}; take that of a frame that was published")


def _seconds(stamp_ns: int) -> str:
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d} s"
