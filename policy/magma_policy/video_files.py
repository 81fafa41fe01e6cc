"""Video files as pictures, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from magma_policy.checkpoint_options import CommandError


def read_video(path: Path, frame_step: int = 1, max_height: int = 512) -> Iterator[np.ndarray]:
    """Every `frame_step`-th picture of a video, uint8 (H, W, 3) rgb, shrunk to at most `max_height` rows.

    Raises:
        CommandError: no such file, or nothing in it can be read as a picture.
    """
    if not path.is_file():
        raise CommandError(f"{path}: no such file")
    video = cv2.VideoCapture(str(path))
    try:
        number = 0
        while video.grab():
            if number % frame_step == 0:
                read, picture = video.retrieve()
                if not read:
                    break
                yield _shrunk(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), max_height)
            number += 1
        if number == 0:
            raise CommandError(f"{path} cannot be read as a video (OpenCV found no picture in it)")
    finally:
        video.release()


def _shrunk(picture: np.ndarray, max_height: int) -> np.ndarray:
    height, width = picture.shape[:2]
    if height <= max_height:
        return picture
    shrunk: np.ndarray = cv2.resize(
        picture, (max(1, round(width * max_height / height)), max_height), interpolation=cv2.INTER_AREA
    )
    return shrunk
