"""Published sets: records in their exact form are read and scored by their rule; damaged ones are refused whole."""

from __future__ import annotations

import copy
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("magma_eval", reason="magma-eval is not installed beside magma-policy")

from magma_policy.commands import eval_screens
from magma_policy.commands.eval_screens import EvalScreensConfig, read_answers
from magma_policy.errors import CommandError, ScreenError
from magma_policy.screens.candidates import Candidate
from magma_policy.screens.offline import mind2web, published, screenspot, visualwebbench
from magma_policy.screens.offline.records import picture, read_records

WIDTH, HEIGHT = 200, 100
NO_PICTURES = Path("pictures-that-are-not-there")


def png(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    shades = np.full((height, width, 3), 255, np.uint8)
    shades[20:40, 20:60] = (0, 0, 200)
    file = BytesIO()
    Image.fromarray(shades).save(file, "PNG")
    return file.getvalue()


HUGGING_FACE = {
    "file_name": "mobile_1.png",
    "bbox": [0.1, 0.2, 0.3, 0.4],
    "instruction": "open the inbox",
    "data_type": "icon",
    "data_source": "ios",
    "image": {"bytes": png(), "path": "mobile_1.png"},
}
ORIGINAL = {
    "img_filename": "mobile_1.png",
    "bbox": [20, 20, 40, 20],
    "instruction": "open the inbox",
    "data_type": "icon",
    "data_source": "ios",
}


def spots(*records, folder=NO_PICTURES, **options):
    return list(screenspot.rows(iter([(f"r{n}", record) for n, record in enumerate(records)]), folder, **options))


def test_both_conventions_of_boxes_name_the_same_target(tmp_path):
    (tmp_path / "mobile_1.png").write_bytes(png())
    one, other = spots(HUGGING_FACE, folder=tmp_path)[0], spots(ORIGINAL, folder=tmp_path)[0]
    assert one.box == pytest.approx(other.box) == (0.1, 0.2, 0.3, 0.4)
    assert one.cell == other.cell == "mobile icon"
    again = spots(ORIGINAL | {"bbox": [20, 20, 60, 40]}, folder=tmp_path, boxes="xyxy_pixels")[0]
    assert again.box == pytest.approx(one.box)


@pytest.mark.parametrize(
    ("answer", "right", "parsed"),
    [
        ("Coordinate: (0.2, 0.3). Mark: 5", True, True),
        ("(0.1, 0.2)", True, True),
        ("(0.3, 0.4)", True, True),
        ("(0.31, 0.4)", False, True),
        ("[0.1, 0.2, 0.3, 0.4]", True, True),
        ("Mark: 0", True, True),
        ("Mark: 1", False, True),
        ("Mark: 0 at (0.9, 0.9)", True, True),
        ("the blue one", False, False),
        ("", False, False),
    ],
)
def test_a_point_a_box_or_a_mark_is_right_in_the_target_its_border_included(answer, right, parsed):
    row = spots(HUGGING_FACE)[0]
    marks = [Candidate((20, 20, 60, 40)), Candidate((100, 20, 140, 40))]
    found = screenspot.score(row, marks, answer)
    assert (found.right, found.parsed, found.recalled) == (right, parsed, True)
    assert not screenspot.score(row, marks[1:], answer).recalled
    assert found.area == pytest.approx(0.04)


def test_cells_are_means_and_a_site_of_any_name_is_the_web():
    records = [HUGGING_FACE, *[HUGGING_FACE | {"data_source": "shop", "data_type": "text"}] * 3]
    rows = spots(*records)
    answers = ["(0.2, 0.3)", "(0.2, 0.3)", "(0.9, 0.9)", "?"]
    figures = {
        f.name: f for f in screenspot.summary([screenspot.score(r, [], a) for r, a in zip(rows, answers, strict=True)])
    }
    assert figures["mobile icon"].percent == 100.0 and figures["web text"].percent == pytest.approx(100 / 3)
    assert figures["mean of cells"].percent == pytest.approx(200 / 3)
    assert (
        figures["all rows"].percent == 50.0 and figures["all rows"].interval[0] < 50.0 < figures["all rows"].interval[1]
    )
    assert figures["all rows"].chance == pytest.approx(4.0)
    assert figures["answers without a place"].percent == 25.0 and figures["candidate recall"].percent == 0.0


VISUAL = {
    "id": "a_1",
    "task_type": "element_ground",
    "website": "example",
    "image": {"bytes": png(), "path": None},
    "image_size": [WIDTH, HEIGHT],
    "raw_image": {"bytes": png(), "path": None},
    "options": [[10.0 * n, 10.0, 10.0 * n + 8, 30.0] for n in range(8)],
    "answer": 2,
    "elem_desc": "the search box",
}


def pages(*records):
    return list(visualwebbench.rows(iter([(f"r{n}", record) for n, record in enumerate(records)]), NO_PICTURES))


def test_letters_are_asked_in_the_published_words_and_numbers_on_the_raw_picture():
    row = pages(VISUAL)[0]
    asked = visualwebbench.question(row)
    assert asked.words == (
        "In this website screenshot, I have labeled IDs for some HTML elements as candicates. Tell me which one best "
        "matches the description: the search box\n\nYou should directly tell me your choice in a single uppercase "
        "letter, and do not output any explanation or any other contents."
    )
    assert np.array_equal(asked.image, row.image)
    numbered = visualwebbench.question(row, "numbers")
    assert not np.array_equal(numbered.image, row.raw_image) and len(numbered.candidates) == 8
    action = pages({**VISUAL, "task_type": "action_ground", "instruction": "log in"})[0]
    assert "click to complete the following task: log in" in visualwebbench.question(action).words
    with pytest.raises(ScreenError, match="no raw picture"):
        visualwebbench.question(pages({**VISUAL, "raw_image": None})[0], "numbers")
    assert pages({**VISUAL, "task_type": "webqa"}) == []


@pytest.mark.parametrize(
    ("answer", "marks", "choice"),
    [
        ("C", "letters", 2),
        (" C.\n", "letters", 2),
        ("(C)", "letters", 2),
        ("A or, no: C", "letters", 2),
        ("The best is H", "letters", 7),
        ("c", "letters", None),
        ("I", "letters", None),
        ("CLICK", "letters", None),
        ("", "letters", None),
        ("2", "numbers", 2),
        ("Mark: 2", "numbers", 2),
        ("Mark: 2 of 8", "numbers", 2),
        ("Coordinate: (0.31, 0.2). Mark: 7", "numbers", 7),
        ("9", "numbers", None),
        ("C", "numbers", None),
    ],
)
def test_the_choice_is_the_last_letter_or_the_mark(answer, marks, choice):
    assert visualwebbench.chosen(answer, marks) == choice
    found = visualwebbench.score(pages(VISUAL)[0], answer, marks)
    assert (found.right, found.parsed) == (choice == 2, choice is not None)


def candidate(node: str, box: str, rank: int | None, target: bool = False) -> str:
    return json.dumps(
        {
            "tag": "a",
            "backend_node_id": node,
            "is_original_target": target,
            "is_top_level_target": target,
            "rank": rank,
            "score": 0.5,
            "attributes": json.dumps({"backend_node_id": node, "bounding_box_rect": box}),
        }
    )


STEP = {
    "action_uid": "u1",
    "annotation_id": "t1",
    "website": "shop",
    "domain": "Shopping",
    "subdomain": "General",
    "confirmed_task": "Find a pizza.",
    "raw_html": "<html>",
    "cleaned_html": "<html>",
    "operation": json.dumps({"original_op": "TYPE", "value": "Deep Dish", "op": "TYPE"}),
    "pos_candidates": [candidate("7", "20,20,40,20", 3, True)],
    "neg_candidates": [
        candidate("8", "100,20,40,20", 0),
        candidate("9", "100,60,40,20", 1),
        candidate("10", "-1,-1,0,0", 2),
    ],
    "action_reprs": ["[link]  Menu -> CLICK", "[searchbox]  Search -> TYPE: Deep Dish"],
    "target_action_index": "1",
    "target_action_reprs": "[searchbox]  Search -> TYPE: Deep Dish",
    "screenshot": {"bytes": png(), "path": None},
}


def steps(*records):
    return list(mind2web.rows(iter([(f"r{n}", record) for n, record in enumerate(records)]), NO_PICTURES))


def test_a_step_is_asked_with_what_was_done_before_and_marks_on_the_ranked_candidates():
    row = steps(STEP)[0]
    assert [item.key for item in row.candidates] == ["8", "9", "7"] and row.covered
    asked = mind2web.question(row).words
    assert "\n\n[link]  Menu -> CLICK\nFor your convinience" in asked and "Search" not in asked
    assert (row.operation, row.value, row.id, row.episode) == ("TYPE", "Deep Dish", "t1/u1", "t1")


@pytest.mark.parametrize(
    ("answer", "element", "f1"),
    [
        ('{"ACTION": "TYPE", "MARK": 2, "VALUE": "deep dish"}', True, 1.0),
        ('{"ACTION": "TYPE", "MARK": 2, "VALUE": "deep pan"}', True, 2 / 3),
        ('{"ACTION": "TYPE", "MARK": 0, "VALUE": "Deep Dish"}', False, 1.0),
        ('{"ACTION": "SELECT", "MARK": 2, "VALUE": "Deep Dish"}', True, 2 / 3),
        ('{"ACTION": "CLICK", "MARK": 2, "VALUE": None}', True, 0.0),
        ('{"ACTION": "TYPE", "MARK": 9, "VALUE": "deep dish"}', False, 0.0),
        ("I would type it", False, 0.0),
    ],
)
def test_a_step_is_right_with_element_and_words(answer, element, f1):
    found = mind2web.score(steps(STEP)[0], answer)
    assert (found.element, found.f1) == (element, pytest.approx(f1))
    assert found.step == (element and f1 == 1.0)


@pytest.mark.parametrize("original", ["CLICK", "HOVER", "ENTER"])
def test_hovering_and_enter_count_as_clicks_whose_value_is_not_compared(original):
    operation = json.dumps({"original_op": original, "value": "", "op": "CLICK"})
    row = steps(STEP | {"operation": operation})[0]
    assert mind2web.score(row, '{"ACTION": "CLICK", "MARK": 2, "VALUE": "None"}').step


def test_a_target_beyond_the_ranked_ones_stays_wrong_and_one_without_a_box_is_dropped():
    far = STEP | {
        "pos_candidates": [candidate("7", "20,20,40,20", 40, True)],
        "neg_candidates": [candidate(str(100 + n), "100,20,40,20", n) for n in range(40)],
    }
    row = steps(far)[0]
    assert len(row.candidates) == 30 and not row.covered
    assert not mind2web.score(row, '{"ACTION": "TYPE", "MARK": 0, "VALUE": "Deep Dish"}').element
    assert steps(STEP | {"pos_candidates": []}) == [None]
    assert steps(STEP | {"pos_candidates": [candidate("7", "20,20,0,0", 0, True)]}) == [None]


def test_a_long_page_is_cut_around_the_target():
    tall = {"bytes": png(60, 3000), "path": None}
    row = steps(STEP | {"screenshot": tall, "pos_candidates": [candidate("7", "10,2000,20,20", 0, True)]})[0]
    assert row.image.shape == (mind2web.HIGHEST_PX, 60, 3)
    assert row.target == ((10, mind2web.HIGHEST_PX / 2 - 10, 30, mind2web.HIGHEST_PX / 2 + 10),)
    assert [item.key for item in row.candidates] == ["7"]
    for y, top in ((0.0, 0), (2980.0, 3000 - mind2web.HIGHEST_PX)):
        assert mind2web.cut_around(np.zeros((3000, 4, 3), np.uint8), (0.0, y, 5.0, y + 5.0))[0] == top


@given(st.text("abc "), st.text("abc "))
def test_the_words_measure_is_symmetric_and_one_only_for_equal_sets(one, other):
    value = mind2web.operation_f1(one, other)
    assert value == mind2web.operation_f1(other, one) and 0.0 <= value <= 1.0
    assert (value == 1.0) == (set(one.split()) == set(other.split()))


def test_means_are_over_tasks_and_dropped_steps_are_told():
    row = steps(STEP)[0]
    good, bad = '{"ACTION": "TYPE", "MARK": 2, "VALUE": "Deep Dish"}', "no"
    scores = [mind2web.score(row, good)] * 3 + [mind2web.score(steps(STEP | {"annotation_id": "t2"})[0], bad)]
    figures = {figure.name: figure.percent for figure in mind2web.summary(scores, dropped=1)}
    assert figures["element accuracy"] == figures["step success"] == figures["operation F1"] == 50.0
    assert figures["step success over steps"] == 75.0 and figures["answers without an action"] == 25.0
    assert figures["steps dropped, without a target's box"] == 20.0


DAMAGED_FIELDS = {
    spots: {
        "bbox": [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1, 0.4], None, [0.1, 0.2, 1.3, 0.4], [0.1, 0.2, float("nan"), 0.4],
                 [20, 20, 60, 40]],
        "instruction": [""], "data_type": ["video"], "data_source": [3],
        "image": [{"bytes": b"none", "path": None}, 7],
    },
    pages: {
        "options": [VISUAL["options"][:7], "none", [[1, 2, 3]] * 8], "answer": [8, True, "C"], "elem_desc": [None],
        "image": [None], "raw_image": [{"bytes": b"x", "path": None}], "id": [None],
    },
    steps: {
        "operation": ["{", json.dumps({"op": "DANCE"}), json.dumps({"op": "TYPE", "value": 3})],
        "pos_candidates": [None, ["{"], [candidate("7", "1,2,3", 0)], [candidate("7", "a,b,c,d", 0)]],
        "screenshot": [None], "target_action_index": ["2", "x"], "confirmed_task": [" "], "annotation_id": [None],
        "action_reprs": ["none"],
    },
}  # fmt: skip
WHOLE = {spots: HUGGING_FACE, pages: VISUAL, steps: STEP}
DAMAGED = [
    ({**WHOLE[read], name: value}, read)
    for read, fields in DAMAGED_FIELDS.items()
    for name, values in fields.items()
    for value in values
]


@pytest.mark.parametrize(("record", "read"), DAMAGED)
def test_damaged_records_are_refused_in_one_sentence_that_says_where(record, read):
    with pytest.raises(ScreenError, match=r"r0") as refused:
        read(record)
    assert "\n" not in str(refused.value)


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)


@given(st.sampled_from([(HUGGING_FACE, spots), (VISUAL, pages), (STEP, steps)]), values, st.data())
def test_a_field_of_any_other_value_is_read_or_refused(case, value, data):
    record, read = copy.deepcopy(case[0]), case[1]
    name = data.draw(st.sampled_from(sorted(record)))
    record[name] = value
    try:
        read(record)
    except ScreenError as error:
        assert "\n" not in str(error)


def test_files_of_every_kind_are_read_and_pictures_stay_below_their_folder(tmp_path):
    (tmp_path / "mobile_1.png").write_bytes(png())
    (tmp_path / "a.json").write_text(json.dumps([ORIGINAL]))
    (tmp_path / "b.jsonl").write_text(json.dumps(ORIGINAL) + "\n\n")
    assert len(list(screenspot.rows(read_records(tmp_path), tmp_path))) == 2
    (tmp_path / "c.json").write_text(json.dumps({"general": [ORIGINAL]}))
    assert [record["split"] for _, record in read_records(tmp_path / "c.json")] == ["general"]
    outside = ORIGINAL | {"img_filename": "../x.png"}
    with pytest.raises(ScreenError, match="outside"):
        spots(outside, folder=tmp_path)
    for text in ("{", "3", '{"a": 1}', '["x"]'):
        (tmp_path / "d.json").write_text(text)
        with pytest.raises(ScreenError, match=r"d\.json"):
            list(read_records(tmp_path / "d.json"))
    with pytest.raises(ScreenError, match="no file or folder of records"):
        list(read_records(tmp_path / "none.json"))
    with pytest.raises(ScreenError, match="no file of records"):
        list(read_records(tmp_path / "mobile_1.png"))


def test_a_parquet_file_of_published_rows_is_read(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist([HUGGING_FACE] * 3), tmp_path / "test-0.parquet")
    assert [row.id for row in screenspot.rows(read_records(tmp_path), tmp_path)] == ["0", "1", "2"]
    damaged = bytearray((tmp_path / "test-0.parquet").read_bytes())
    (tmp_path / "test-0.parquet").write_bytes(damaged[: len(damaged) // 2])
    with pytest.raises(ScreenError, match="cannot be read as Parquet"):
        list(read_records(tmp_path))


def test_the_command_scores_answers_that_there_are(tmp_path, capsys):
    (tmp_path / "mobile_1.png").write_bytes(png())
    (tmp_path / "spots.jsonl").write_text(2 * (json.dumps(ORIGINAL) + "\n"))
    (tmp_path / "answers.txt").write_text('{"id": 0, "answer": "(0.2, 0.3)"}\n')
    config = EvalScreensConfig("screenspot", tmp_path / "spots.jsonl", answers=tmp_path / "answers.txt")
    assert eval_screens.evaluate(config) == 0
    printed = capsys.readouterr()
    assert "mobile icon: 50.0 %" in printed.out and "Magma-8B: 60.4 58.5 75.3 52.9 69.1 52.0, mean 61.4" in printed.out
    assert "1 rows have no answer" in printed.err
    (tmp_path / "spots.jsonl").write_text("{}\n")
    with pytest.raises(CommandError, match="neither file_name"):
        eval_screens.evaluate(config)


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "a"}', '{"id": [], "answer": "x"}', '{"id": "a", "answer": 3}'])
def test_answers_in_another_form_are_refused_with_their_line(tmp_path, line):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a", "answer": "x"}\n' + line)
    with pytest.raises(CommandError, match="line 2"):
        read_answers(path)


def test_what_others_report_adds_up_to_their_own_means():
    assert sum(published.SCREENSPOT["Magma-8B"]) / 6 == pytest.approx(61.37, abs=0.01)
    for parts in published.AITW.values():
        assert sum(parts[:5]) / 5 == pytest.approx(parts[5], abs=0.06)
    assert all(published.lines(name) for name in ("screenspot", "visualwebbench", "mind2web", "aitw"))


def test_answers_that_are_kept_are_read_whatever_they_say(tmp_path):
    said = "left\u2028or\x85right\nor both"
    for row in ("a", "b"):
        eval_screens._keep(tmp_path / "kept.jsonl", row, said)
    assert read_answers(tmp_path / "kept.jsonl") == {"a": said, "b": said}


def test_a_record_s_picture_is_what_a_viewer_shows_however_it_is_kept(tmp_path):
    turned, file = Image.Exif(), BytesIO()
    turned[0x112] = 6
    hidden = np.zeros((6, 8, 4), np.uint8)
    hidden[..., 0] = 255
    Image.fromarray(hidden, "RGBA").save(file, "PNG", exif=turned)
    (tmp_path / "x.png").write_bytes(file.getvalue())
    kept = [picture(value, tmp_path, "r") for value in ("x.png", file.getvalue(), {"bytes": file.getvalue()})]
    assert all(pixels.shape == (8, 6, 3) and (pixels == 255).all() for pixels in kept)
    with pytest.raises(ScreenError, match="r: its picture"):
        picture(b"no picture", tmp_path, "r")
