"""Pictures as KOSMOS-2's vision tower wants them: stretched to a square, as CLIP normalises them."""

from __future__ import annotations

import numpy as np
from PIL import Image

# OpenAI CLIP's, in the published preprocessor_config.json.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class PictureError(ValueError):
    """An array that is no picture."""


def stretched(image: np.ndarray, side: int) -> np.ndarray:
    """uint8 rgb (H, W, 3) to uint8 (side, side, 3): the whole picture, nothing is cut off, so that boxes stay fractions
    of the picture as it was given.

    Raises:
        PictureError: another type or shape, or no pixels.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise PictureError(f"a picture must be uint8 (H, W, 3) rgb, got {image.dtype} {image.shape}")
    small = Image.fromarray(np.ascontiguousarray(image)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small)


def normalised(images: np.ndarray) -> np.ndarray:
    """uint8 (..., side, side, 3) to float32 (..., 3, side, side)."""
    scaled = images.astype(np.float32) * np.float32(1 / 255)
    return np.moveaxis((scaled - np.array(MEAN, dtype=np.float32)) / np.array(STD, dtype=np.float32), -1, -3)


def pixels_of(image: np.ndarray, side: int) -> np.ndarray:
    """uint8 rgb (H, W, 3) to float32 (3, side, side). Raises PictureError as `stretched`."""
    return normalised(stretched(image, side))
