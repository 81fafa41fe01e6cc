"""Boxes in pictures: x1 y1 x2 y2 as fractions of the whole picture, x to the right, y down.

Models count in grids, thousandths or their own pixels; each converts at its own edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def overlap(box: ArrayLike, boxes: ArrayLike) -> FloatArray:
    """Intersection over union (N,) of a box (4,) with boxes (N, 4), in any one unit; 0 for boxes without area."""
    one, many = np.asarray(box, dtype=np.float64), np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    low, high = np.maximum(one[:2], many[:, :2]), np.minimum(one[2:], many[:, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=1)
    union = np.prod(many[:, 2:] - many[:, :2], axis=1) + np.prod(one[2:] - one[:2]) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def apart(boxes: ArrayLike, scores: ArrayLike, most: float = 0.5) -> list[int]:
    """Indices of boxes (N, 4), the highest score (N,) first, without those that overlap one before by more than
    `most` (intersection over union): non-maximum suppression."""
    many = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    kept: list[int] = []
    for index in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist():
        if not kept or (overlap(many[index], many[kept]) <= most).all():
            kept.append(index)
    return kept


def holds(box: Sequence[float] | FloatArray, point: Sequence[float]) -> bool:
    """Whether a point (x, y) lies in a box, its edges included."""
    return bool(box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3])


def in_pixels(boxes: ArrayLike, width: int, height: int) -> FloatArray:
    """Boxes (…, 4) of fractions in pixels of a picture of this size."""
    return np.asarray(boxes, dtype=np.float64) * (width, height, width, height)


def in_fractions(boxes: ArrayLike, width: int, height: int) -> FloatArray:
    """Boxes (…, 4) of pixels in fractions of a picture of this size."""
    return np.asarray(boxes, dtype=np.float64) / (width, height, width, height)
