"""Rows in the published form: read as they were written, or refused with line and reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_policy.errors import ScreenError
from magma_policy.screens.actions import click_action, click_answer
from magma_policy.screens.rows import ROWS, Mark, Row, append_marks, append_rows, read_marks, read_row, read_rows

texts = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=60).map(str.strip).filter(
    lambda text: text and "<image" not in text
)  # fmt: skip
names = st.from_regex(r"[a-z]{1,8}/[a-z0-9]{1,8}\.png", fullmatch=True)
# As MagmaAI/Magma-Mind2Web-SoM has them, with the tokens around the picture.
PUBLISHED = {
    "id": "row-1",
    "image": "shots/1.png",
    "conversations": [
        {"from": "human", "value": "<image_start><image><image_end>\nWhat is the next action?"},
        {"from": "gpt", "value": '{"ACTION": "CLICK", "MARK": 3, "VALUE": "None"}'},
    ],
}


@given(st.builds(Row, texts, names, texts, texts))
def test_what_was_written_is_read(row):
    assert read_row(row.as_json()) == row


def test_a_published_row_is_read_without_the_tokens_around_its_picture():
    row = read_row(json.dumps(PUBLISHED | {"further": 1}))
    assert (row.question, row.image) == ("What is the next action?", "shots/1.png")


def damaged(**fields):
    return json.dumps(PUBLISHED | fields)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "null",
        damaged(image="../secret.png"),
        damaged(image="/etc/x.png"),
        damaged(image=""),
        damaged(image=3),
        damaged(conversations=[]),
        damaged(conversations=PUBLISHED["conversations"][::-1]),
        damaged(conversations=PUBLISHED["conversations"] * 2),
        damaged(conversations=[{"from": "human", "value": "no picture"}, {"from": "gpt", "value": "x"}]),
        damaged(conversations=[{"from": "human", "value": "<image> <image>"}, {"from": "gpt", "value": "x"}]),
        damaged(conversations=[{"from": "human", "value": "<image>"}, {"from": "gpt", "value": " "}]),
        "[" * 100_000,
    ],
)
def test_damaged_rows_are_refused_in_one_sentence(line):
    with pytest.raises(ScreenError) as refused:
        read_row(line)
    assert "\n" not in str(refused.value)


@given(st.data())
def test_no_cut_or_changed_row_does_more_than_be_refused(data):
    line = json.dumps(PUBLISHED)
    at = data.draw(st.integers(0, len(line) - 1))
    changed = line[:at] + data.draw(st.text(max_size=3)) + line[at + data.draw(st.integers(0, 3)) :]
    try:
        row = read_row(changed)
    except ScreenError:
        return
    assert row.question and row.answer and row.image


def test_sets_are_read_with_their_pictures_and_refused_with_the_line(tmp_path):
    with pytest.raises(ScreenError, match="is no set of rows"):
        read_rows([tmp_path])
    append_rows(tmp_path, [Row("a", "1.png", "which?", "Mark: 0")])
    with pytest.raises(ScreenError, match=r"rows\.jsonl, line 1: there is no picture"):
        read_rows([tmp_path])
    (tmp_path / "1.png").write_bytes(b"")
    assert [row.id for _, row in read_rows([tmp_path])] == ["a"]
    with (tmp_path / ROWS).open("a") as file:
        file.write("{}\n")
    with pytest.raises(ScreenError, match="line 2"):
        read_rows([tmp_path])


@given(st.integers(0, 59), st.floats(0, 1), st.floats(0, 1))
def test_the_answer_that_is_taught_is_the_one_that_is_read(mark, x, y):
    assert click_action(click_answer(mark, x, y), 60).mark == mark


@pytest.mark.parametrize("answer", ["", "Coordinate: (0.5, 0.5)", "Mark: 7", "Mark: -1"])
def test_clicks_on_what_is_not_marked_are_refused(answer):
    with pytest.raises(ScreenError):
        click_action(answer, 7)


def test_what_stands_at_marks_is_read_as_it_was_written(tmp_path):
    first, second = (Mark(0, 0.0, 1.0, 'button "Größe"'), Mark(12, 0.25, 0.5, "")), (Mark(3, 1.0, 0.3333, "x"),)
    append_marks(tmp_path, "pictures/a.png", first)
    append_marks(tmp_path, "pictures/b.png", second)
    assert read_marks([tmp_path, tmp_path / "another"]) == {
        tmp_path / "pictures/a.png": first,
        tmp_path / "pictures/b.png": second,
    }


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"image": "a.png"}',
        '{"image": 3, "marks": []}',
        '{"image": "a.png", "marks": [[0, 0.5, 0.5]]}',
        '{"image": "a.png", "marks": [[-1, 0.5, 0.5, ""]]}',
        '{"image": "a.png", "marks": [[true, 0.5, 0.5, ""]]}',
        '{"image": "a.png", "marks": [[0, 1.5, 0.5, ""]]}',
        '{"image": "a.png", "marks": [[0, NaN, 0.5, ""]]}',
        '{"image": "a.png", "marks": [[0, 0.5, 0.5, null]]}',
        '{"image": "a.png", "marks": ' + "[" * 5000,
    ],
)
def test_marks_that_cannot_be_used_are_told_with_their_line(tmp_path, line):
    append_marks(tmp_path, "a.png", [])
    with (tmp_path / "marks.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(ScreenError, match=r"marks\.jsonl, line 2: this says no marks"):
        read_marks([tmp_path])
