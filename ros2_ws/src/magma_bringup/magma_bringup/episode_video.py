"""A video of one episode, from the pictures that went through the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

PICTURE_PX = 512
"""Side of the picture in the video; the policy's own are too small to look at."""
BAR_PX = 64
_WHITE, _GREY, _GREEN = (240, 240, 240), (150, 150, 150), (90, 220, 110)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class VideoFrame:
    """What was seen at one step: uint8 (H, W, 3) RGB pixels, the step, and whether the goal held."""

    pixels: np.ndarray
    step: int
    success: bool


def annotate(frame: VideoFrame, instruction: str, max_steps: int, policy: str) -> np.ndarray:
    """The picture, enlarged, over a bar that says what goes on: uint8 (PICTURE_PX + BAR_PX, PICTURE_PX, 3) RGB."""
    # Nearest neighbour: what the policy saw, not something smoother.
    picture = cv2.resize(frame.pixels, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_NEAREST)
    bar = np.zeros((BAR_PX, PICTURE_PX, 3), dtype=np.uint8)
    (width, _), _ = cv2.getTextSize(instruction, _FONT, 0.5, 1)
    cv2.putText(
        bar, instruction, (8, 25), _FONT, 0.5 * min(1.0, (PICTURE_PX - 16) / max(width, 1)), _WHITE, 1, cv2.LINE_AA
    )
    cv2.putText(bar, f"step {frame.step}/{max_steps}  {policy}", (8, 50), _FONT, 0.45, _GREY, 1, cv2.LINE_AA)
    if frame.success:
        cv2.putText(bar, "success", (PICTURE_PX - 80, 50), _FONT, 0.5, _GREEN, 1, cv2.LINE_AA)
    return np.concatenate([picture, bar])


def write_video(
    path: Path, frames: Sequence[VideoFrame], fps: float, instruction: str, max_steps: int, policy: str
) -> None:
    """Writes an H.264 video that browsers play.

    Raises:
        ValueError: no frames.
        OSError: the file cannot be written.
    """
    if not frames:
        raise ValueError(f"no frames for {path}")
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (PICTURE_PX, PICTURE_PX + BAR_PX),
        fps=fps,
        codec="libx264",
        quality=None,
        output_params=["-crf", "20", "-preset", "veryfast", "-threads", "1"],
        ffmpeg_log_level="error",
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(annotate(frame, instruction, max_steps, policy))
    finally:
        writer.close()
