"""Boxes as location tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_policy.families.kosmos2.locations import (
    BINS,
    BoxError,
    between_cells,
    decode_cells,
    encode_boxes,
    is_ordered,
    neighbours,
    peaks,
)

fractions = st.floats(-0.2, 1.2)


def test_the_published_example_decodes_between_cell_centres():
    # The snowman of the model card.
    assert decode_cells(np.array([[44, 863]])).tolist() == [[0.390625, 0.046875, 0.984375, 0.828125]]
    assert decode_cells(np.array([[5, 911]])).tolist() == [[0.171875, 0.015625, 0.484375, 0.890625]]


def test_corners_in_one_row_or_column_decode_to_outer_edges():
    assert decode_cells(np.array([[0, 0]])).tolist() == [[0, 0, 1 / 32, 1 / 32]]
    assert decode_cells(np.array([[2, 4]])).tolist() == [[2 / 32, 0, 5 / 32, 1 / 32]]
    assert decode_cells(np.array([[1, 65]])).tolist() == [[1 / 32, 0, 2 / 32, 3 / 32]]


def test_the_far_edge_belongs_to_the_last_cell():
    assert encode_boxes(np.array([[0.0, 0.0, 1.0, 1.0]])).tolist() == [[0, BINS * BINS - 1]]
    # A right edge on a boundary belongs to the cell behind it, as the authors' encoder has it.
    assert encode_boxes(np.array([[0.25, 0.25, 0.5, 0.5]])).tolist() == [[8 * 32 + 8, 16 * 32 + 16]]


@given(st.tuples(fractions, fractions, fractions, fractions))
def test_every_box_that_touches_the_picture_comes_back_near_itself(corners):
    boxes = np.array([corners])
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    if ((high < 0) | (low > 1)).any():
        with pytest.raises(BoxError, match="outside"):
            encode_boxes(boxes)
        return
    cells = encode_boxes(boxes)
    assert ((cells >= 0) & (cells < BINS * BINS)).all()
    assert all(is_ordered(first, last) for first, last in cells.tolist())
    back = decode_cells(cells)
    meant = np.clip(np.concatenate([low, high], axis=1), 0, 1)
    assert (back[:, :2] < back[:, 2:]).all() and (back >= 0).all() and (back <= 1).all()
    assert np.abs(back - meant).max() <= 1 / BINS + 1e-4


def test_a_box_keeps_its_place_when_it_is_encoded_again():
    rng = np.random.default_rng(0)
    corners = rng.random((100_000, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    cells = encode_boxes(boxes)
    again = encode_boxes(decode_cells(cells))
    shared = (cells[:, 0] % BINS == cells[:, 1] % BINS) | (cells[:, 0] // BINS == cells[:, 1] // BINS)
    # Centres lie within their cells; outer edges are boundaries, where the last corner moves on by one.
    assert (again[~shared] == cells[~shared]).all()
    assert (again[shared][:, 0] == cells[shared][:, 0]).all()
    large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) > 3 / BINS
    low = np.maximum(boxes[:, :2], decode_cells(cells)[:, :2])
    high = np.minimum(boxes[:, 2:], decode_cells(cells)[:, 2:])
    inside = np.prod(np.clip(high - low, 0, None), axis=1)
    union = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(
        decode_cells(cells)[:, 2:] - decode_cells(cells)[:, :2], axis=1
    )
    assert (inside / (union - inside))[large].min() > 0.4


@pytest.mark.parametrize(
    ("boxes", "told"),
    [
        ([[0.1, 0.2, 0.3]], "x1 y1 x2 y2"),
        ([[0.1, np.nan, 0.3, 0.4]], "finite"),
        ([[1.5, 0.1, 1.7, 0.2]], r"\(1.5, 0.1, 1.7, 0.2\) lies outside"),
    ],
)
def test_what_is_no_box_is_refused_by_name(boxes, told):
    with pytest.raises(BoxError, match=told):
        encode_boxes(np.array(boxes))


@pytest.mark.parametrize(("cells", "told"), [([[5, 4]], "left of or above"), ([[0, 1024]], "1023"), ([0, 1], "rows")])
def test_cells_that_are_no_box_are_refused(cells, told):
    with pytest.raises(BoxError, match=told):
        decode_cells(np.array(cells))


def test_of_neighbours_that_say_the_same_place_the_likeliest_stands_for_all():
    likely = np.zeros((8, 8))
    likely[2, 3], likely[2, 4], likely[1, 3], likely[6, 6] = 0.4, 0.3, 0.2, 0.1
    assert peaks(likely)[:2].tolist() == [2 * 8 + 3, 6 * 8 + 6]
    assert {2 * 8 + 4, 1 * 8 + 3}.isdisjoint(peaks(likely).tolist())
    assert peaks(np.full((4, 4), 1 / 16)).tolist() == list(range(16))


def test_neighbours_stay_on_the_grid():
    assert neighbours(0, 4) == [0, 1, 4, 5]
    assert neighbours(5, 4) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert neighbours(7, 4) == [2, 3, 6, 7, 10, 11]
    assert neighbours(15, 4) == [10, 11, 14, 15]


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.4, 0.9))
def test_a_corner_between_cells_is_where_soft_labels_say(x, y, sigma):
    middles = np.arange(BINS) + 0.5
    column, row = (np.exp(-((value * BINS - middles) ** 2) / (2 * sigma**2)) for value in (x, y))
    likely = np.outer(row, column) / np.outer(row, column).sum()
    found = between_cells(likely, int(likely.argmax()))
    # At the picture's edge there are no cells on the other side.
    meant = np.clip([x, y], 0.5 / BINS, 1 - 0.5 / BINS)
    inner = (meant > 3 / BINS) & (meant < 1 - 3 / BINS)
    np.testing.assert_allclose(found[inner], meant[inner], atol=0.1 / BINS)
    np.testing.assert_allclose(found, meant, atol=0.5 / BINS)


def test_what_is_likely_elsewhere_moves_no_corner():
    likely = np.full((BINS, BINS), 1e-9)
    likely[4, 4], likely[4, 5], likely[20, 20] = 0.4, 0.2, 0.4
    np.testing.assert_allclose(between_cells(likely, 4 * BINS + 4) * BINS, [4.5 + 1 / 3, 4.5], atol=1e-4)
    np.testing.assert_allclose(between_cells(likely, BINS * BINS - 1) * BINS, [31.5 - 1.0, 31.5 - 1.0], atol=1e-6)
