"""From a camera driver's message to the frame a policy takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np

from magma_camera.frozen_camera import FrozenCamera, FrozenCameraSettings
from magma_camera.image_decoding import FrameRefusedError, decode_compressed, decode_image
from magma_common.compressed_images import MAX_SIDE_PX
from magma_common.process.clocks import NO_CLOCK

RESTART_AFTER = 5
"""So many pictures in a row whose stamps lie before the last good one, but advance among themselves, mean that the
driver's clock was set back (driver restarted, time server): the new time is taken from then on."""


@dataclass(frozen=True)
class FrameSettings:
    """What a frame must be.

    Attributes:
        max_age_s: refuse pictures captured longer ago than this; 0 takes any age.
        max_future_s: refuse pictures stamped later than now plus this: a driver with another clock would defeat every
            age check downstream.
        bit_depth: bits that the sensor uses of a 16-bit encoding, 9 ... 16; 0 = not known.
        frozen: when identical pictures mean a frozen camera.
    """

    max_age_s: float = 1.0
    max_future_s: float = 0.1
    bit_depth: int = 0
    frozen: FrozenCameraSettings = field(default_factory=FrozenCameraSettings)

    def __post_init__(self) -> None:
        for name in ("max_age_s", "max_future_s"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a number of at least 0, not {value}")
        if self.bit_depth and not 9 <= self.bit_depth <= 16:
            raise ValueError(f"bit_depth must be 0 (not known) or lie between 9 and 16, not {self.bit_depth}")


@dataclass(frozen=True)
class PreparedFrame:
    """A frame for the policy: capture time in nanoseconds and uint8 (height, width, 3) RGB pixels."""

    stamp_ns: int
    pixels: np.ndarray


class FramePreparation:
    """Checks a picture, converts it to RGB and brings it to the policy's size.

    The whole picture is stretched to the policy's size without cropping: policies are trained on frames resized
    the same way, and a crop would hide part of the table. Shrinking averages areas (``cv2.INTER_AREA``), as the
    training pictures were made; growing interpolates linearly.

    Refusals are counted by reason in ``refusals``. Thread safety: none; one caller. No clock: the caller says what
    time it is.
    """

    def __init__(self, settings: FrameSettings | None = None) -> None:
        self._settings = settings or FrameSettings()
        self._frozen = FrozenCamera(self._settings.frozen)
        self._size: tuple[int, int] | None = None
        self._last_stamp_ns = 0
        self._older_stamps: list[int] = []
        self.refusals: Counter[str] = Counter()
        self.last_refusal: str | None = None
        self.accepted = 0

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the frames in pixels; None until it is known."""
        return self._size

    def set_size(self, height: int, width: int) -> None:
        """Pixels of the frames from now on; raises ValueError when out of range."""
        if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
            raise ValueError(f"frame size {width}x{height} must lie between 1 and {MAX_SIDE_PX} on each side")
        self._size = (height, width)

    def configure(self, settings: FrameSettings) -> None:
        """Takes other limits from now on; what was seen so far stays known."""
        self._settings = settings
        self._frozen.settings = settings.frozen

    def note_position(self, position: np.ndarray, stamp_ns: int) -> None:
        """Tells where the end effector was at a moment: (3,) metres, nanoseconds."""
        self._frozen.note_position(position, stamp_ns * 1e-9)

    def from_image(
        self, *, stamp_ns: int, now_ns: int, encoding: str, height: int, width: int, step: int, data: object,
        is_bigendian: bool = False,
    ) -> PreparedFrame:  # fmt: skip
        """Frame of a ``sensor_msgs/Image``; fields as in the message, times in nanoseconds.

        Raises:
            FrameRefusedError: the picture must not be used; counted in ``refusals``.
        """
        with self._counted():
            self._check_stamp(stamp_ns, now_ns)
            pixels = decode_image(encoding, height, width, step, data, is_bigendian, self._settings.bit_depth)
            return self._finish(stamp_ns, pixels, np.frombuffer(data, dtype=np.uint8))  # type: ignore[call-overload]

    def from_compressed(self, *, stamp_ns: int, now_ns: int, format_name: str, data: object) -> PreparedFrame:
        """Frame of a ``sensor_msgs/CompressedImage``; as `from_image`."""
        with self._counted():
            self._check_stamp(stamp_ns, now_ns)
            pixels = decode_compressed(format_name, data, self._settings.bit_depth)
            return self._finish(stamp_ns, pixels, np.frombuffer(data, dtype=np.uint8))  # type: ignore[call-overload]

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except FrameRefusedError as error:
            self.refusals[error.reason] += 1
            self.last_refusal = f"{error.reason}: {error}"
            raise

    def _check_stamp(self, stamp_ns: int, now_ns: int) -> None:
        if stamp_ns <= 0:
            raise FrameRefusedError("stamp_zero", "the stamp is 0: the driver does not say when the picture was taken")
        age_s = (now_ns - stamp_ns) * 1e-9
        if age_s < -self._settings.max_future_s:
            why = f": {NO_CLOCK}" if now_ns == 0 else ""
            raise FrameRefusedError("stamp_future", f"stamped {-age_s:.3f} s ahead of this machine's clock{why}")
        if self._settings.max_age_s and age_s > self._settings.max_age_s:
            raise FrameRefusedError("stale", f"captured {age_s:.3f} s ago; limit {self._settings.max_age_s:g} s")
        if stamp_ns == self._last_stamp_ns:
            raise FrameRefusedError("stamp_repeated", "same stamp as the picture before")
        if stamp_ns > self._last_stamp_ns:
            self._older_stamps.clear()
            return
        if self._older_stamps and stamp_ns <= self._older_stamps[-1]:
            self._older_stamps.clear()
        self._older_stamps.append(stamp_ns)
        if len(self._older_stamps) < RESTART_AFTER:
            back_s = (self._last_stamp_ns - stamp_ns) * 1e-9
            raise FrameRefusedError("stamp_back", f"stamped {back_s:.3f} s before an earlier picture")
        self._older_stamps.clear()

    def _finish(self, stamp_ns: int, pixels: np.ndarray, raw: np.ndarray) -> PreparedFrame:
        # From here on the picture is sound, so later ones are compared with it even when it is not forwarded.
        self._last_stamp_ns = stamp_ns
        frozen = self._frozen.reason(raw, stamp_ns * 1e-9)
        if frozen is not None:
            raise FrameRefusedError("frozen", f"camera is frozen: {frozen}")
        if self._size is None:
            raise FrameRefusedError("size_unknown", "no policy has announced the frame size it takes")
        self.accepted += 1
        return PreparedFrame(stamp_ns, self._resize(pixels, self._size))

    @staticmethod
    def _resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        height, width = size
        if pixels.shape[:2] == (height, width):
            return pixels
        shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
