"""The newest picture, encoded once for all who look."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg

from magma_console.robot.pictures import HEAD, NewestPicture


def test_the_newest_picture_is_encoded_once_and_older_ones_never():
    picture, decoded = NewestPicture(), []

    def decode(value):
        decoded.append(value)
        return np.full((8, 16, 3), value, np.uint8)

    assert picture.encoded(80, lambda: 0.0) is None and picture.heard_s is None
    for value in (10, 20, 200):
        picture.put(value * 10**9, lambda value=value: decode(value), float(value))
    first = picture.encoded(80, lambda: 7.0)
    assert picture.encoded(80, lambda: 8.0) == first and decoded == [200]
    number, data = first
    assert number == picture.number == 3 and picture.heard_s == 200.0
    assert HEAD.unpack_from(data) == (200_000_000_000, 7.0)
    shown = simplejpeg.decode_jpeg(data[HEAD.size :])
    assert shown.shape == (8, 16, 3) and abs(int(shown.mean()) - 200) < 3


def test_a_picture_that_cannot_be_shown_is_said_to_be_so():
    picture = NewestPicture()

    def broken():
        raise ValueError("no picture")

    picture.put(0, broken, 0.0)
    with pytest.raises(ValueError, match="no picture"):
        picture.encoded(80, lambda: 0.0)
    picture.put(1, lambda: np.zeros((4, 4, 3), np.uint8), 1.0)
    assert picture.encoded(80, lambda: 0.0) is not None
