"""Notices a camera that keeps sending the same picture under new stamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FrozenCameraSettings:
    """When identical pictures mean that the camera has frozen; 0 switches a rule off.

    Attributes:
        after_s: seconds of identical pictures. For real cameras, whose sensor noise never repeats. Not for a simulator,
            whose pictures of a world at rest are identical.
        after_motion_m: metres that the end effector has moved while the picture stayed the same. Works for both.
    """

    after_s: float = 1.0
    after_motion_m: float = 0.02

    def __post_init__(self) -> None:
        for name in ("after_s", "after_motion_m"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a number of at least 0 (0 = off), not {value}")


class FrozenCamera:
    """Compares each picture with the one before.

    Thread safety: none; one caller.
    """

    def __init__(self, settings: FrozenCameraSettings) -> None:
        self.settings = settings
        self._last: np.ndarray | None = None
        self._unchanged_since_s = 0.0
        self._position_at_change: np.ndarray | None = None
        self._position: np.ndarray | None = None
        self._position_stamp_s = -np.inf

    def note_position(self, position: np.ndarray, stamp_s: float) -> None:
        """End effector position (3,) in metres, measured at `stamp_s` in the clock of the pictures' stamps."""
        if np.isfinite(position).all():
            self._position, self._position_stamp_s = np.asarray(position, dtype=np.float64), stamp_s
            if self._position_at_change is None and stamp_s >= self._unchanged_since_s:
                self._position_at_change = self._position

    def reason(self, content: np.ndarray, stamp_s: float) -> str | None:
        """Why this picture shows a frozen camera, or None.

        Args:
            content: the picture as it came, any shape; kept until the next call and not copied.
            stamp_s: its capture time in seconds.
        """
        last, self._last = self._last, content
        if last is None or not np.array_equal(last, content):
            self._unchanged_since_s = stamp_s
            # A picture may overtake the state of its own moment, or that state may get lost; the one before it may be
            # of before a jump. Then the next one counts.
            self._position_at_change = self._position if self._position_stamp_s >= stamp_s else None
            return None
        unchanged_s = stamp_s - self._unchanged_since_s
        if self.settings.after_s and unchanged_s >= self.settings.after_s:
            return f"the picture has not changed for {unchanged_s:.1f} s"
        if self.settings.after_motion_m and self._position is not None and self._position_at_change is not None:
            moved_m = float(np.linalg.norm(self._position - self._position_at_change))
            if moved_m >= self.settings.after_motion_m:
                return f"the arm moved {moved_m * 100:.1f} cm and not one pixel changed"
        return None
