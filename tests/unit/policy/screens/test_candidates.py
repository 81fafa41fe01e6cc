"""Which things on a screen get marks: one each, in reading order, few enough on a picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_contracts.geometry.boxes import overlap
from magma_policy.screens.candidates import LEAST_SIDE_PX, SAME, Candidate, boxes_of, in_reading_order, tidied, tiles

WIDTH, HEIGHT = 640, 480
coordinates = st.floats(-100.0, 800.0, allow_nan=False)


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    x1, x2 = sorted((draw(coordinates), draw(coordinates)))
    y1, y2 = sorted((draw(coordinates), draw(coordinates)))
    return Candidate((x1, y1, x2, y2), focusable=draw(st.booleans()))


@given(st.lists(candidates(), max_size=40))
def test_what_is_kept_lies_on_the_screen_and_is_there_once(found):
    found = [replace(candidate, key=str(number)) for number, candidate in enumerate(found)]
    kept = tidied(found, WIDTH, HEIGHT)
    boxes = boxes_of(kept)
    assert (boxes >= 0).all() and (boxes[:, [0, 2]] <= WIDTH).all() and (boxes[:, [1, 3]] <= HEIGHT).all()
    for index, box in enumerate(boxes):
        assert min(box[2] - box[0], box[3] - box[1]) >= LEAST_SIDE_PX
        assert (overlap(box, np.delete(boxes, index, axis=0)) <= SAME).all()
    assert len({candidate.key for candidate in kept}) == len(kept) <= len(found)


@given(st.lists(candidates(), max_size=60), st.integers(1, 7))
def test_every_candidate_is_in_one_tile_and_no_tile_has_too_many(found, most):
    kept = [replace(item, key=str(number)) for number, item in enumerate(tidied(found, WIDTH, HEIGHT))]
    parts = tiles(kept, WIDTH, HEIGHT, most)
    marked = [candidate.key for part in parts for candidate in part.candidates]
    assert len(set(marked)) == len(marked)
    assert all(len(part.candidates) <= most for part in parts)
    for part in parts:
        x1, y1, x2, y2 = part.box
        assert all(x1 <= c.centre[0] <= x2 and y1 <= c.centre[1] <= y2 for c in part.candidates)
    # Only things on the very same spot may be left over.
    if len({candidate.centre for candidate in kept}) == len(kept) and most >= 3:
        assert set(marked) <= {candidate.key for candidate in kept}


def test_a_view_with_few_candidates_is_one_tile():
    few = [Candidate((10.0 * k, 0.0, 10.0 * k + 8.0, 8.0)) for k in range(60)]
    (only,) = tiles(few, WIDTH, HEIGHT)
    assert only.box == (0.0, 0.0, 640.0, 480.0) and list(only.candidates) == few
    assert [len(part.candidates) for part in tiles([*few, few[0]], WIDTH, HEIGHT)] == [33, 28]


def test_a_label_is_no_thing_of_its_own_but_stands_in_for_a_control_that_cannot_be_seen():
    box = Candidate((0, 0, 10, 10), "checkbox", "Tick", focusable=True, key="1")
    label = Candidate((12, 0, 60, 10), "checkbox", "Tick", key="2", labels="1")
    assert tidied([box, label], WIDTH, HEIGHT) == [replace(box, box=(0.0, 0.0, 10.0, 10.0))]
    (alone,) = tidied([label], WIDTH, HEIGHT)
    assert alone.role == "checkbox" and alone.box == (12.0, 0.0, 60.0, 10.0) and alone.key == "2"


def test_a_control_stands_for_the_row_around_it_and_for_the_picture_on_it():
    row = Candidate((0, 0, 200, 20), key="row")
    button = Candidate((5, 2, 60, 18), "button", focusable=True, key="button", inside="row")
    icon = Candidate((6, 3, 20, 17), key="icon", inside="button")
    assert [item.key for item in tidied([row, button, icon], WIDTH, HEIGHT)] == ["button"]
    assert [item.key for item in tidied([row], WIDTH, HEIGHT)] == ["row"]


def test_of_nearly_equal_boxes_the_control_stays():
    around = Candidate((0, 0, 100, 20), key="around")
    control = Candidate((1, 0, 100, 20), "link", focusable=True, key="control")
    assert [item.key for item in tidied([around, control], WIDTH, HEIGHT)] == ["control"]


def test_reading_goes_row_by_row():
    places = [(300, 12), (10, 10), (10, 100), (200, 96), (500, 8)]
    boxes = [Candidate((x, y, x + 50, y + 20), name=f"{x}") for x, y in places]
    assert [item.name for item in in_reading_order(boxes)] == ["10", "300", "500", "10", "200"]


@pytest.mark.parametrize("box", [(5, 0, 1, 1), (0, float("nan"), 1, 1), (0, 0, float("inf"), 1)])
def test_a_box_that_is_none_is_refused(box):
    with pytest.raises(ValueError, match="x1, y1, x2, y2"):
        Candidate(box)
