"""Set-of-Mark and Trace-of-Mark: what Magma is asked, what it may answer, and how it is drawn."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_policy.marks import set_of_mark, trace_of_mark
from magma_policy.marks.drawing import draw_box_marks, draw_point_marks, draw_traces
from magma_policy.marks.set_of_mark import Gesture, UiAnswer, parse_gesture, parse_mark_positions, parse_ui_answer
from magma_policy.marks.trace_of_mark import Traces, format_traces, from_pixels, parse_traces

EXAMPLES = int(os.environ.get("MAGMA_FUZZ_EXAMPLES", "200"))

PUBLISHED_ANSWER = (
    "Mark 6 at [251,92], Mark 8 at [250,22] should be moved, and their future positions are:\n\n"
    '"Mark 6": "[[252,90],[249,88],[246,86]]"\n\n"Mark 8": "[[250,24],[249,26],[248,28]]"\n\n'
)


def test_questions_are_the_published_ones():
    assert set_of_mark.ui_question("search").startswith('In this view I need to click a button to "search"? Provide')
    assert set_of_mark.brief_question(" What is it? ") == "What is it? Answer the question briefly."
    assert "256x256 grids, and labeled with numeric marks.\nPlease locate" in set_of_mark.locate_marks_question()
    question = trace_of_mark.trace_question("push the chips bag to the left", marks=(1, 2))
    assert question == (
        "The image is split into 256x256 grids and is labeled with numeric marks [1, 2].\n"
        "The robot is doing: push the chips bag to the left. To finish the task, how to move the numerical marks "
        "in the image with speed 8 for the next 8 steps?"
    )
    assert "in the image for the next 4 steps?" in trace_of_mark.trace_question("pour", speed=None, steps=4)
    with pytest.raises(ValueError, match="steps"):
        trace_of_mark.trace_question("pour", steps=0)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Coordinate: (0.52, 0.31). Mark: 7", UiAnswer(7, (0.52, 0.31))),
        ("coordinate:(0.52,0.31) mark 7", UiAnswer(7, (0.52, 0.31))),
        ("Mark: 7. Coordinates: [0.52, 0.31]", UiAnswer(7, (0.52, 0.31))),
        ("Coordinate: (0.25, 0.5, 0.75, 1.0). Mark: 0", UiAnswer(0, (0.5, 0.75), (0.25, 0.5, 0.75, 1.0))),
        ("(0.1, 0.2)", UiAnswer(None, (0.1, 0.2))),
        ("0.1, 0.2", UiAnswer(None, (0.1, 0.2))),
        ("Coordinate: 0.30, 0.40. Mark: 12.", UiAnswer(12, (0.3, 0.4))),
        ("Mark: 3", UiAnswer(3)),
        ("The button carries mark #3", UiAnswer(3)),
        ("Coordinate: (512, 300)", UiAnswer()),
        ("Text: News. Mark: 1.", UiAnswer(1)),
        ("No input areas found.", UiAnswer()),
        ("", UiAnswer()),
        ("Mark: 99999999999999999999", UiAnswer()),
    ],
)
def test_ui_answers(text, answer):
    assert parse_ui_answer(text) == answer


def test_a_click_is_the_marked_box_else_the_point():
    boxes = np.array([[0, 0, 10, 10], [100, 50, 140, 70]])
    assert parse_ui_answer("Coordinate: (0.9, 0.9). Mark: 1").target(boxes, 200, 100) == (120.0, 60.0)
    assert parse_ui_answer("Coordinate: (0.9, 0.9). Mark: 8").target(boxes, 200, 100) == (180.0, 90.0)
    assert parse_ui_answer("Mark: 8").target(boxes, 200, 100) is None
    assert parse_ui_answer("(0.5, 0.5)").target(np.zeros((0, 4)), 200, 100) == (100.0, 50.0)


@pytest.mark.parametrize(
    ("text", "gesture"),
    [
        ('{"ACTION": "CLICK", "MARK": 5, "VALUE": null}', Gesture("CLICK", 5)),
        ("Sure: {'ACTION': 'TYPE', 'MARK': 12, 'VALUE': \"don't\"} done", Gesture("TYPE", 12, None, "don't")),
        ('{"action": "tap", "normalized_coordinate": [0.25, 0.75]}', Gesture("TAP", None, (0.75, 0.25))),
        ("{'TAP': {'MARK': 3}}", Gesture("TAP", 3)),
        ('{"TAP": {"MARK": 3}}', Gesture("TAP", 3)),
        ('{"ACTION": "SWIPE", "DIRECTION": "up"}', Gesture("SWIPE", None, None, "up")),
        ('{"NAVIGATE": "HOME"}', Gesture("NAVIGATE", None, None, "HOME")),
        ('{"ACTION": "DANCE"}', None),
        ('{"ACTION": ["CLICK"]}', None),
        ("{}", None),
        ("{'ACTION': 'CLICK', 'MARK': 99999999}", Gesture("CLICK")),
        ("nothing", None),
    ],
)
def test_gestures(text, gesture):
    assert parse_gesture(text) == gesture


def test_traces_as_published():
    traces = parse_traces(PUBLISHED_ANSWER)
    assert traces.starts == {6: (251.0, 92.0), 8: (250.0, 22.0)}
    assert traces.futures[6].tolist() == [[252, 90], [249, 88], [246, 86]]
    paths = traces.paths(width=512, height=128)
    assert paths[8].tolist() == [[500, 11], [500, 12], [498, 13], [496, 14]]
    assert format_traces(traces) == PUBLISHED_ANSWER


@pytest.mark.parametrize(
    ("text", "futures"),
    [
        (PUBLISHED_ANSWER[:-22], {6: 3, 8: 1}),
        ("Mark 6: [[1,2],[3,4]]", {6: 2}),
        ("'Mark 6' : '[(1, 2), (3.5, 4)]'", {6: 2}),
        ('"Mark 1": "[[300,2],[-1,3],[5,6]]"', {1: 1}),
        ('"Mark 1": "[[1,2]]" "Mark 1": "[[3,4],[5,6]]"', {1: 1}),
        ('"Mark 1": "[]"', {}),
        ('"Mark 1": "[[1,2],[3', {1: 1}),
        ("Mark 1 will not move.", {}),
    ],
)
def test_traces_as_models_really_print_them(text, futures):
    assert {mark: len(points) for mark, points in parse_traces(text).futures.items()} == futures


points = st.tuples(st.integers(0, 256), st.integers(0, 256))
tables = st.lists(points, min_size=1, max_size=6).map(lambda rows: np.array(rows, dtype=np.float64))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.dictionaries(st.integers(0, 9999), st.tuples(points, tables), min_size=1, max_size=5))
def test_what_is_written_is_read(marks):
    traces = Traces(
        {mark: (float(start[0]), float(start[1])) for mark, (start, _) in marks.items()},
        {mark: future for mark, (_, future) in marks.items()},
    )
    back = parse_traces(format_traces(traces))
    assert back.starts == traces.starts and list(back.futures) == list(traces.futures)
    for mark, future in traces.futures.items():
        np.testing.assert_array_equal(back.futures[mark], future)
    assert parse_mark_positions(set_of_mark.format_mark_positions(traces.starts)) == traces.starts
    again = from_pixels(traces.paths(256, 256), 256, 256)
    assert again.starts == traces.starts


noise = st.text(alphabet='Mark at:"[](){},.0123456789-eE#' + "'\n coordinateACTION", max_size=120) | st.text(
    max_size=120
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(noise | st.sampled_from([PUBLISHED_ANSWER, PUBLISHED_ANSWER[50:90], "Mark: ", "{'TAP':"]), max_size=5))
def test_parsers_never_raise_and_return_only_what_is_on_the_picture(parts):
    text = "".join(parts)
    ui = parse_ui_answer(text)
    assert ui.point is None or all(0 <= value <= 1 for value in ui.point)
    assert all(0 <= v <= 256 for position in parse_mark_positions(text).values() for v in position)
    traces = parse_traces(text)
    for path in traces.paths(64, 48).values():
        assert path.ndim == 2 and path.shape[1] == 2 and np.isfinite(path).all()
        assert (path >= 0).all() and (path <= [64, 48]).all()
    gesture = parse_gesture(text)
    assert gesture is None or gesture.kind in set_of_mark.GESTURES
    draw_traces(np.zeros((48, 64, 3), np.uint8), traces.paths(64, 48))


@pytest.mark.parametrize("word", ["{", "[", "Mark ", "(0.1,", '{"a":', "1", "Mark 1 at ["])
def test_endless_answers_are_read_in_a_moment(word):
    text = word * 50_000
    for parse in (parse_ui_answer, parse_mark_positions, parse_traces, parse_gesture):
        parse(text)
    parse_gesture(json.dumps({"ACTION": "TYPE", "VALUE": text[:1000]}))


def test_drawings_keep_the_picture_and_show_the_marks():
    screen = np.full((200, 300, 3), 255, np.uint8)
    before = screen.copy()
    boxes = np.array([[10, 10, 120, 60], [10, 70, 120, 120], [150, 40, 290, 190]])
    marked = draw_box_marks(screen, boxes)
    assert marked.shape == screen.shape and marked.dtype == np.uint8
    np.testing.assert_array_equal(screen, before)
    for x1, y1, x2, y2 in boxes:
        assert (marked[y1, x1 + 40 : x2] == [255, 0, 0]).all() and (marked[y1 + 30, x1] == [255, 0, 0]).all()
        assert (marked[(y1 + y2) // 2, (x1 + x2) // 2] == 255).all(), "the middle of a box stays as it was"
    dots = draw_point_marks(screen, {1: (50, 50), 22: (200, 100)})
    assert (dots[50 - 4, 50] == [255, 0, 0]).all() and (dots != 255).any(axis=2)[90:110, 190:210].any()
    lines = draw_traces(screen, {3: np.array([[20.0, 20], [60, 20], [100, 60]])})
    assert (lines[20, 40] != 255).any() and (lines[150] == 255).all()


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.tuples(*[st.floats(-1e9, 1e9)] * 4), max_size=4),
)
def test_drawing_takes_any_finite_place(height, width, boxes):
    image = np.zeros((height, width, 3), np.uint8)
    assert draw_box_marks(image, np.array(boxes).reshape(-1, 4)).shape == image.shape
    assert draw_point_marks(image, {n: box[:2] for n, box in enumerate(boxes)}).shape == image.shape
    assert draw_traces(image, {n: np.array(box).reshape(2, 2) for n, box in enumerate(boxes)}).shape == image.shape


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), "cat.png"])
def test_drawing_refuses_what_is_no_picture(image):
    with pytest.raises(ValueError, match="picture must be"):
        draw_point_marks(image, {})
    with pytest.raises(ValueError, match="finite"):
        draw_box_marks(np.zeros((4, 4, 3), np.uint8), np.array([[0, 0, np.nan, 1]]))
