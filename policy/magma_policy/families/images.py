"""Whether an image is one that a model can be given."""

from __future__ import annotations

import numpy as np

from magma_policy.errors import ObservationError


def check_pixels(image: np.ndarray) -> None:
    """Raises ObservationError unless `image` is a uint8 array."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ObservationError(f"image must be a uint8 array, got {kind}")


def check_image(image: np.ndarray) -> None:
    """Raises ObservationError unless `image` is a uint8 rgb image (H, W, 3) with something in it."""
    check_pixels(image)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ObservationError(f"image must have shape (height, width, 3) (rgb), got {image.shape}")
