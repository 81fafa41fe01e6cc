"""Pictures from a webcam or a video file through OpenCV, with reconnection."""

from __future__ import annotations

import os
from dataclasses import dataclass

import cv2
import numpy as np


class SourceUnavailableError(RuntimeError):
    """The device or file cannot be read now; the message says what was tried and what to check."""


@dataclass(frozen=True)
class VideoSourceSettings:
    """What to open and how.

    Attributes:
        device: number of a V4L2 camera ("0"), its path ("/dev/video0"), a video file or a stream's URL.
        width, height: pixels to ask a camera for; 0 leaves its default. A file has the size it has.
        fps: pictures per second to ask a camera for, and pace of a file; 0 leaves the camera's or the file's own.
        loop: start a file again at its end.
    """

    device: str = "0"
    width: int = 0
    height: int = 0
    fps: float = 0.0
    loop: bool = True

    def __post_init__(self) -> None:
        if not self.device.strip():
            raise ValueError("device must name a camera (0, /dev/video0), a video file or a stream")
        if not (np.isfinite(self.fps) and self.fps >= 0):
            raise ValueError(f"fps must be a number of at least 0, not {self.fps}")
        if bool(self.width) != bool(self.height) or min(self.width, self.height) < 0:
            raise ValueError(f"width and height must both be given, or both be 0, not {self.width} and {self.height}")

    @property
    def is_camera(self) -> bool:
        """Whether the device is a camera of this machine (and not a file or stream)."""
        return self.device.strip().isdigit() or self.device.startswith("/dev/")


class VideoSource:
    """One opened camera or file. `read` opens when needed, so that after an error the next call reconnects.

    Blocking; one thread owns it. Use `close` when done.
    """

    def __init__(self, settings: VideoSourceSettings) -> None:
        self.settings = settings
        self._capture: cv2.VideoCapture | None = None
        self._read_since_open = 0

    @property
    def period_s(self) -> float:
        """Seconds between two pictures of a file; 0 for a camera, which sets the pace itself."""
        if self.settings.is_camera:
            return 0.0
        fps = self.settings.fps or (self._capture.get(cv2.CAP_PROP_FPS) if self._capture is not None else 0.0)
        return 1.0 / fps if fps > 0 else 1.0 / 30.0

    def read(self) -> np.ndarray | None:
        """Next picture, uint8 (H, W, 3) in BGR order as OpenCV delivers it; None at the end of a file without loop.

        Raises:
            SourceUnavailableError: cannot be opened or delivers nothing; the next call tries again.
        """
        if self._capture is None:
            self._open()
        pixels = self._grab()
        if pixels is None and not self.settings.is_camera and self._read_since_open > 0:
            if not self.settings.loop:
                return None
            self._open()
            pixels = self._grab()
        if pixels is None:
            self.close()
            raise SourceUnavailableError(f"{self.settings.device} delivers no pictures any more (unplugged?)")
        return pixels

    def close(self) -> None:
        """Releases the device."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _grab(self) -> np.ndarray | None:
        good, pixels = self._capture.read() if self._capture is not None else (False, None)
        if not good or pixels is None:
            return None
        self._read_since_open += 1
        return pixels

    def _open(self) -> None:
        self.close()
        self._read_since_open = 0
        settings = self.settings
        device = settings.device.strip()
        if settings.is_camera:
            path = f"/dev/video{device}" if device.isdigit() else device
            if not os.path.exists(path):
                raise SourceUnavailableError(f"camera {path} does not exist; is it plugged in? (see `ls /dev/video*`)")
            if not os.access(path, os.R_OK | os.W_OK):
                raise SourceUnavailableError(f"no permission to open {path}; add the user to the group `video`")
            capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
            if settings.width:
                capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
                capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
            if settings.fps:
                capture.set(cv2.CAP_PROP_FPS, settings.fps)
            # The driver's queue would hand out pictures that are several periods old.
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        else:
            if "://" not in device and not os.path.isfile(device):
                raise SourceUnavailableError(f"video file {device} does not exist")
            capture = cv2.VideoCapture(device)
        if not capture.isOpened():
            capture.release()
            why = "in use by another program?" if settings.is_camera else "no video format that OpenCV knows?"
            raise SourceUnavailableError(f"cannot open {device} ({why})")
        self._capture = capture
