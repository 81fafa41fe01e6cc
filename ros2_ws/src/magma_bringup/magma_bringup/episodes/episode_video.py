"""A video of one episode, from the pictures that went through the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from magma_eval.videos import VideoWriter, captioned

IMAGE_PX = 512
"""Side of the picture in the video; the policy's own are too small to look at."""
BAR_PX = 64
"""Height of the bar with the text, below the picture."""


@dataclass(frozen=True)
class VideoFrame:
    """What was seen at one step: uint8 (H, W, 3) RGB pixels, the step, and whether the goal held."""

    pixels: np.ndarray
    step: int
    success: bool


def annotate(frame: VideoFrame, instruction: str, max_steps: int, policy: str) -> np.ndarray:
    """The picture, enlarged, over a bar that says what goes on: uint8 (PICTURE_PX + BAR_PX, PICTURE_PX, 3) RGB."""
    # Nearest neighbour: what the policy saw, not something smoother.
    picture = cv2.resize(frame.pixels, (IMAGE_PX, IMAGE_PX), interpolation=cv2.INTER_NEAREST)
    padded = np.concatenate([picture, np.zeros((BAR_PX, IMAGE_PX, 3), dtype=np.uint8)])
    state = "  goal reached" if frame.success else ""
    return captioned(padded, (instruction, f"{policy}  step {frame.step} of {max_steps}{state}"))


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
    with VideoWriter(path, (IMAGE_PX, IMAGE_PX + BAR_PX), fps) as video:
        for frame in frames:
            video.write(annotate(frame, instruction, max_steps, policy))
