"""Picture files as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from magma_policy.checkpoint_options import CommandError


def read_picture(path: Path) -> np.ndarray:
    """A picture file as uint8 rgb (H, W, 3), turned the way its camera was held.

    Raises:
        CommandError: no such file, not a picture, cut off, or absurdly large.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise CommandError(f"{path}: no such file")
    if path.is_dir():
        raise CommandError(f"{path} is a folder, not a picture")
    try:
        with Image.open(path) as picture:
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except UnidentifiedImageError as error:
        raise CommandError(f"{path} is not a picture that can be read (PNG, JPEG, WebP, …)") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CommandError(f"{path} cannot be read as a picture: {error}") from error


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Writes uint8 (H, W, 3); the suffix chooses the format. Raises CommandError when that is impossible."""
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} cannot be written: {error}") from error


def resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 (H, W, 3) stretched to a size: averaged when it shrinks, bicubic when it grows."""
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = pixels.shape[0] >= height and pixels.shape[1] >= width
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), how))
