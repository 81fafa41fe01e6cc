"""Boxes as location tokens: the codec of KOSMOS-2 (Peng et al. 2023, arXiv 2306.14824, section 2.1).

The picture is a grid of bins x bins cells; a box is named by the cell of its upper left and of its lower right corner,
numbered row by row. Boxes are (N, 4) float64, x1 y1 x2 y2 as fractions of the *whole* picture, x to the right, y down.
"""

from __future__ import annotations

import numpy as np

BINS = 32
"""Cells along each side in the published model."""
_LAST = 0.99999
"""What the authors' encoder takes for the far edge, so that it falls into the last cell (unilm, obj_utils.py)."""

_NEAR = 2
"""Cells to each side of one that are looked at for where between cells a corner is."""


class BoxError(ValueError):
    """A box that names no place of the picture."""


def encode_boxes(boxes: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Cells (N, 2) int64 of the upper left and lower right corners of boxes (N, 4).

    What reaches over the picture's edge is clamped to it; corners may come in any order.

    Raises:
        BoxError: not (N, 4), not finite, or a box wholly outside of the picture.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise BoxError(f"boxes must be rows of x1 y1 x2 y2, got an array of shape {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise BoxError(f"a box must have finite corners, got {_told(boxes[~np.isfinite(boxes).all(axis=1)][0])}")
    low = np.minimum(boxes[:, :2], boxes[:, 2:])
    high = np.maximum(boxes[:, :2], boxes[:, 2:])
    outside = (high < 0).any(axis=1) | (low > 1).any(axis=1)
    if outside.any():
        raise BoxError(f"box {_told(boxes[outside][0])} lies outside of the picture, which runs from 0 to 1")
    first = np.floor(np.clip(low, 0.0, _LAST) * bins).astype(np.int64)
    last = np.floor(np.clip(high, 0.0, _LAST) * bins).astype(np.int64)
    return np.stack([first[:, 1] * bins + first[:, 0], last[:, 1] * bins + last[:, 0]], axis=1)


def decode_cells(cells: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Boxes (N, 4) of cells (N, 2): from the centre of one to the centre of the other, or, where both share a row or a
    column, from the outer edge of the first to the outer edge of the last.

    Raises:
        BoxError: not (N, 2), off the grid, or a second corner left of or above the first.
    """
    cells = np.asarray(cells, dtype=np.int64)
    if cells.ndim != 2 or cells.shape[1] != 2:
        raise BoxError(f"cells must be rows of two numbers, got an array of shape {cells.shape}")
    if ((cells < 0) | (cells >= bins * bins)).any():
        raise BoxError(f"cells must lie from 0 to {bins * bins - 1}, got {cells.min()} to {cells.max()}")
    first, last = (np.stack([cells[:, i] % bins, cells[:, i] // bins], axis=1) for i in (0, 1))
    if (last < first).any():
        wrong = cells[(last < first).any(axis=1)][0]
        raise BoxError(f"cell {wrong[1]} lies left of or above cell {wrong[0]}, so they are no box")
    edges = (first == last).any(axis=1)[:, None]
    low = np.where(edges, first, first + 0.5) / bins
    high = np.where(edges, last + 1, last + 0.5) / bins
    return np.concatenate([low, high], axis=1)


def between_cells(likely: np.ndarray, cell: int) -> np.ndarray:
    """Where a corner is (2,), x y as fractions, if the probabilities (bins, bins) of the cells near one of them are
    centred on it: for models that learned from labels so soft, the corner is known to less than a cell."""
    bins = len(likely)
    row, column = divmod(cell, bins)
    rows, columns = (np.arange(max(0, at - _NEAR), min(bins, at + _NEAR + 1)) for at in (row, column))
    near = likely[np.ix_(rows, columns)].astype(np.float64)
    near /= near.sum()
    return np.array([near.sum(axis=0) @ (columns + 0.5), near.sum(axis=1) @ (rows + 0.5)]) / bins


def neighbours(cell: int, bins: int = BINS) -> list[int]:
    """A cell and those beside it, corner to corner too."""
    row, column = divmod(cell, bins)
    rows, columns = (range(max(0, at - 1), min(bins, at + 2)) for at in (row, column))
    return [y * bins + x for y in rows for x in columns]


def is_ordered(first: int, last: int, bins: int = BINS) -> bool:
    """Whether two cells are a box: the second neither left of the first nor above it."""
    return last % bins >= first % bins and last // bins >= first // bins


def peaks(likely: np.ndarray) -> np.ndarray:
    """Cells of a grid (bins, bins) that are likelier than all of their neighbours, the likeliest first: each stands for
    a place of its own, where its neighbours only say the same place less exactly."""
    padded = np.pad(likely, 1, constant_values=-np.inf)
    rows, columns = likely.shape
    around = [padded[1 + y : 1 + y + rows, 1 + x : 1 + x + columns] for y in (-1, 0, 1) for x in (-1, 0, 1) if x or y]
    # Of equals the first counts, so that there always is one.
    order = np.argsort(-likely.ravel(), kind="stable")
    highest = (likely >= np.max(around, axis=0)).ravel()
    return order[highest[order]]


def _told(box: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:g}" for value in box) + ")"
