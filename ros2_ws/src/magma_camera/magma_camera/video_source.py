"""Pictures from a webcam (OpenCV), a video file or a stream (PyAV), with reconnection."""

from __future__ import annotations

import os
from dataclasses import dataclass

import cv2
import numpy as np

from magma_camera.film import Film, FilmError


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
        self._camera: cv2.VideoCapture | None = None
        self._film: Film | None = None
        self._read_since_open = 0

    @property
    def period_s(self) -> float:
        """Seconds from the last picture of a file to the next, by its time stamps; 0 for a camera, which sets the pace
        itself."""
        if self.settings.is_camera:
            return 0.0
        if self.settings.fps:
            return 1.0 / self.settings.fps
        return self._film.period_s if self._film is not None else 1.0 / 30.0

    def read(self) -> np.ndarray | None:
        """Next picture, uint8 (H, W, 3) in BGR order; None at the end of a file without loop.

        Raises:
            SourceUnavailableError: cannot be opened, delivers nothing, is damaged or cut off; the next call tries
                again.
        """
        if self._camera is None and self._film is None:
            self._open()
        try:
            pixels = self._grab()
            if pixels is None and self._film is not None and self._read_since_open > 0:
                if not self.settings.loop:
                    return None
                self._open()
                pixels = self._grab()
        except FilmError as error:
            self.close()
            raise SourceUnavailableError(str(error)) from error
        if pixels is None:
            self.close()
            raise SourceUnavailableError(f"{self.settings.device} delivers no pictures any more (unplugged?)")
        return pixels

    def close(self) -> None:
        """Releases the device."""
        if self._camera is not None:
            self._camera.release()
            self._camera = None
        if self._film is not None:
            self._film.close()
            self._film = None

    def _grab(self) -> np.ndarray | None:
        if self._film is not None:
            pixels = self._film.read()
        else:
            pixels = self._camera.read()[1] if self._camera is not None else None
        if pixels is not None:
            self._read_since_open += 1
        return pixels

    def _open(self) -> None:
        self.close()
        self._read_since_open = 0
        device = self.settings.device.strip()
        if self.settings.is_camera:
            self._camera = self._open_camera(f"/dev/video{device}" if device.isdigit() else device)
            return
        if "://" not in device and not os.path.isfile(device):
            raise SourceUnavailableError(f"video file {device} does not exist")
        try:
            self._film = Film(device)
        except FilmError as error:
            raise SourceUnavailableError(str(error)) from error

    def _open_camera(self, path: str) -> cv2.VideoCapture:
        settings = self.settings
        if not os.path.exists(path):
            raise SourceUnavailableError(f"camera {path} does not exist; is it plugged in? (see `ls /dev/video*`)")
        if not os.access(path, os.R_OK | os.W_OK):
            raise SourceUnavailableError(f"no permission to open {path}; add the user to the group `video`")
        camera = cv2.VideoCapture(path, cv2.CAP_V4L2)
        if settings.width:
            camera.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
            camera.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
        if settings.fps:
            camera.set(cv2.CAP_PROP_FPS, settings.fps)
        # The driver's queue would hand out pictures that are several periods old.
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if not camera.isOpened():
            camera.release()
            raise SourceUnavailableError(f"cannot open {path} (in use by another program?)")
        return camera
