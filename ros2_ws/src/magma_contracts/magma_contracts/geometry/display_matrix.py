"""Pictures of a film as a player shows them: turned and mirrored as the film's display matrix says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTES = 36
"""Of a matrix: nine 32-bit numbers."""


def upright(picture: NDArray[Any], matrix: bytes) -> NDArray[Any]:
    """A picture (H, W, …) turned and mirrored by whole quarters, as a view; as it is where there is no whole matrix.

    The matrix takes the point (p, q) to (a p + c q, b p + d q); it is stored little-endian as a, b, u, c, d, v, x, y, w
    (ISO/IEC 14496-12, 8.2.2; FFmpeg's `libavutil/display.h`).
    """
    if len(matrix) < BYTES:
        return picture
    a, b, _, c, d = np.frombuffer(matrix, dtype="<i4", count=5).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, across, down = picture.swapaxes(0, 1), c, b
    else:
        across, down = a, d
    return picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
