"""Boxes as fractions of pictures."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magma_contracts.geometry.boxes import apart, holds, in_fractions, in_pixels, overlap


def random_boxes(numbers):
    seed, count = numbers
    corners = np.random.default_rng(seed).integers(0, 9, (count, 2, 2)) / 8
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


boxes = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 8)).map(random_boxes)


def test_overlap_of_known_boxes():
    found = overlap([0, 0, 2, 2], [[1, 1, 3, 3], [0, 0, 2, 2], [2, 2, 3, 3], [1, 1, 1, 1]])
    assert np.allclose(found, [1 / 7, 1, 0, 0])
    assert overlap([1, 1, 1, 1], [[1, 1, 1, 1]]).tolist() == [0]
    assert overlap([0, 0, 1, 1], np.empty((0, 4))).shape == (0,)


@given(boxes)
def test_overlap_is_symmetric_and_a_share(many):
    table = np.array([overlap(box, many) for box in many])
    assert np.allclose(table, table.T) and (table >= 0).all() and (table <= 1 + 1e-9).all()


@given(boxes, st.integers(0, 2**32 - 1))
def test_what_is_kept_is_apart_and_stands_for_the_rest(many, seed):
    scores = np.random.default_rng(seed).random(len(many))
    kept = apart(many, scores)
    assert kept[0] == int(np.argmax(scores))
    for place, index in enumerate(kept):
        assert (overlap(many[index], many[kept[:place]]) <= 0.5).all()
    for index in set(range(len(many))) - set(kept):
        assert any(overlap(many[index], many[[other]])[0] > 0.5 and scores[other] >= scores[index] for other in kept)


def test_units_and_points():
    box = np.array([0.25, 0.5, 0.75, 1.0])
    assert in_pixels(box, 640, 480).tolist() == [160, 240, 480, 480]
    assert np.allclose(in_fractions(in_pixels([box], 640, 480), 640, 480), [box])
    assert holds(box, (0.25, 1.0)) and not holds(box, (0.2, 0.7))
