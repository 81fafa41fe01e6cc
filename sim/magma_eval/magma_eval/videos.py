"""Episode videos that browsers play: H.264 with instruction, step and success written into the image."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

_TEXT = cv2.FONT_HERSHEY_SIMPLEX


def captioned(image: NDArray[np.uint8], lines: tuple[str, ...]) -> NDArray[np.uint8]:
    """A copy of the image (H, W, 3) RGB with lines of white text on a dark bar at its lower edge."""
    result = np.ascontiguousarray(image).copy()
    height, scale = result.shape[0], result.shape[1] / 900
    line_height = round(34 * scale)
    top = height - line_height * len(lines) - round(10 * scale)
    result[top:] = result[top:] // 4
    for index, line in enumerate(lines):
        place = (round(12 * scale), top + line_height * (index + 1) - round(6 * scale))
        cv2.putText(result, line, place, _TEXT, scale, (255, 255, 255), max(1, round(2 * scale)), cv2.LINE_AA)
    return result


class VideoWriter:
    """Writes frames of one size to an MP4 file; a context manager, so that the file is closed in any case.

    Args:
        path: file to write; its folder must exist.
        size: width and height in pixels, both even (H.264 stores colours at half resolution).
        frames_per_second: playback speed.

    Raises:
        ValueError: an odd size.
    """

    def __init__(self, path: Path, size: tuple[int, int], frames_per_second: float) -> None:
        if size[0] % 2 or size[1] % 2:
            raise ValueError(f"H.264 needs an even width and height, got {size[0]}x{size[1]}")
        self._size = size
        self._writer = imageio_ffmpeg.write_frames(
            str(path),
            size,
            fps=frames_per_second,
            codec="libx264",
            quality=7,
            macro_block_size=2,
            ffmpeg_log_level="error",
        )
        self._writer.send(None)

    def write(self, image: NDArray[np.uint8]) -> None:
        """Appends a frame (H, W, 3) RGB uint8; ValueError when it has another size or type."""
        if image.shape != (self._size[1], self._size[0], 3) or image.dtype != np.uint8:
            raise ValueError(f"expected a uint8 frame of {self._size[0]}x{self._size[1]}, got {image.shape}")
        self._writer.send(np.ascontiguousarray(image))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
