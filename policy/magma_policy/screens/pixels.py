"""Candidates from pixels alone, for screens that tell nothing about themselves: outlines that are closed boxes.

Edges are thickened twice, so that both an icon and a line of letters become one blob, and the blobs' upright rectangles
are the candidates. What they are is not known.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.boxes import apart
from magma_policy.screens.candidates import LEAST_SIDE_PX, Candidate

_EDGES = (50, 150)
"""Canny's two thresholds."""
_THICKENED = ((3, 3), (19, 3))
"""Width and height of the brush in pixels: things with an outline; letters that make a word."""
_MOST_OF_SCREEN = 0.5
"""A larger rectangle is the ground on which things stand."""
_SAME = 0.7
_MOST = 400
"""Rectangles looked at; a picture of noise has more than anybody would mark."""


def pixel_candidates(image: NDArray[np.uint8]) -> list[Candidate]:
    """Rectangles in a screenshot, uint8 (H, W, 3) rgb; the largest outlines first."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"a screenshot is a uint8 array (H, W, 3), got {image.dtype} {image.shape}")
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    edges = cv2.Canny(grey, *_EDGES)
    found: list[tuple[float, float, float, float]] = []
    for width, height in _THICKENED:
        blobs = cv2.dilate(edges, np.ones((height, width), np.uint8))
        outlines, _ = cv2.findContours(blobs, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        for outline in outlines:
            left, top, across, down = cv2.boundingRect(outline)
            # The brush has made them larger by half its size on each side.
            margin_x, margin_y = width // 2, height // 2
            box = (left + margin_x, top + margin_y, left + across - margin_x, top + down - margin_y)
            if min(box[2] - box[0], box[3] - box[1]) >= LEAST_SIDE_PX and across * down < _MOST_OF_SCREEN * grey.size:
                found.append((float(box[0]), float(box[1]), float(box[2]), float(box[3])))
    found = sorted(set(found), key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))[:_MOST]
    return [Candidate(found[index]) for index in apart(np.array(found).reshape(-1, 4), [0.0] * len(found), _SAME)]
