"""Pictures turned as a film's display matrix says: every quarter turn, mirrored or not."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from magma_contracts.geometry.display_matrix import upright

ONE = 1 << 16


SIGNS = [(x, y) for x in (1, -1) for y in (1, -1)]


@pytest.mark.parametrize("a, b, c, d", [(x, 0, 0, y) for x, y in SIGNS] + [(0, x, y, 0) for x, y in SIGNS])
def test_each_pixel_goes_where_the_matrix_takes_it(a, b, c, d):
    picture = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    matrix = struct.pack("<9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    # Where pixel centres go, moved back to the quadrant of positive coordinates.
    rows, columns = np.mgrid[0:2, 0:3]
    p, q = columns + 0.5, rows + 0.5
    x, y = a * p + c * q, b * p + d * q
    x, y = x - np.floor(x.min()), y - np.floor(y.min())
    expected = np.zeros((int(y.max()) + 1, int(x.max()) + 1, 3), dtype=int)
    expected[y.astype(int), x.astype(int)] = picture
    assert np.array_equal(upright(picture, matrix), expected)


def test_without_a_whole_matrix_the_picture_stays():
    picture = np.arange(12).reshape(2, 2, 3)
    assert upright(picture, b"") is picture and upright(picture, b"\0" * 35) is picture
