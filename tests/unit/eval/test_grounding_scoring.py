"""Metrics of published benchmarks: values by hand from the tools' rules; of texts, from pycocoevalcap itself."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_eval.grounding import caption_metrics
from magma_eval.grounding.caption_metrics import CaptionMetricsError, Scored, cider, meteor, tokenized
from magma_eval.grounding.items import FLICKR, Answer, CaptionItem, ItemSet, NameItem, PlaceItem, QuestionItem
from magma_eval.grounding.scoring import found, vqa_accuracy, vqa_normalised
from magma_eval.grounding.summary import summarise

NOWHERE = Answer(np.empty((0, 4)))


def place(boxes: list[list[float]], size: tuple[int, int] = (100, 100), **more: object) -> PlaceItem:
    return PlaceItem("1", "p.jpg", "a dog", "", np.array(boxes, dtype=float), size, **more)  # type: ignore[arg-type]


def said(*boxes: list[float], **more: bool) -> Answer:
    return Answer(np.array(boxes, dtype=float).reshape(-1, 4), **more)


TWO = [[0, 0, 20, 20], [80, 0, 100, 20]]


def test_any_box_and_merged_disagree_where_a_phrase_has_several_boxes():
    one, round_both = said([0, 0, 0.2, 0.2]), said([0, 0, 1, 0.2])
    assert found(place(TWO), one, 1) and not found(place(TWO), one, 1, merge=True)
    assert not found(place(TWO), round_both, 1) and found(place(TWO), round_both, 1, merge=True)


def test_an_overlap_of_exactly_one_half_counts():
    """10 x 10 of 20 x 10 pixels, whatever fractions do to it."""
    for width in (30, 70, 90, 110, 333, 499, 640):
        item = place([[0, 0, 10, 10]], (width, width))
        assert found(item, said([0, 0, 20 / width, 10 / width]), 1), width
        assert not found(item, said([0, 0, 20.001 / width, 10 / width]), 1)


def test_only_the_first_boxes_count_and_fewer_are_what_there_is():
    answer = said([0.5, 0.5, 0.6, 0.6], [0, 0, 0.2, 0.2])
    assert [found(place(TWO), answer, first) for first in (1, 5, 10)] == [False, True, True]


@pytest.mark.parametrize("answer", [NOWHERE, said([0, 0, 0, 0]), said([0, 0, 0.2, 0.2], undecodable=True)])
def test_nothing_a_box_without_area_and_what_cannot_be_read_are_misses(answer):
    assert not found(place(TWO), answer, 10)
    assert not found(place(TWO), answer, 10, merge=True)


def test_a_truth_without_area_is_never_found():
    assert not found(place([[5, 5, 5, 5]]), said([0.05, 0.05, 0.05, 0.05]), 1)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2), min_size=1, max_size=4),
    st.lists(st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2), min_size=0, max_size=6),
    st.sampled_from([1, 5, 10]),
    st.booleans(),
)
def test_recall_is_that_of_the_rule_written_out_pixel_by_pixel(truth, given_boxes, first, merge):
    """Sets of pixels instead of a formula."""

    def pixels(x: int, y: int, w: int, h: int) -> set[tuple[int, int]]:
        return {(i, j) for i in range(x, x + w) for j in range(y, y + h)}

    right = [pixels(*box) for box in truth]
    if merge:
        left, top = min(b[0] for b in truth), min(b[1] for b in truth)
        right = [pixels(left, top, max(b[0] + b[2] for b in truth) - left, max(b[1] + b[3] for b in truth) - top)]
    # Shares of halves of a box are not equal in fractions of 100 pixels; 128 are exact.
    expected = any(
        2 * len(mine & theirs) >= len(mine | theirs)
        for mine in map(lambda b: pixels(*b), given_boxes[:first])
        for theirs in right
    )
    item = place([[x, y, x + w, y + h] for x, y, w, h in truth], (128, 128))
    answer = said(*([x / 128, y / 128, (x + w) / 128, (y + h) / 128] for x, y, w, h in given_boxes))
    assert found(item, answer, first, merge=merge) == expected


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The dog.", "dog"),
        ("two dogs", "2 dogs"),
        ("None", "0"),
        ("dont know", "don't know"),
        ("a man's hat", "man's hat"),
        ("1,000", "1000"),
        ("red, white", "red white"),
        ("red/white", "red white"),
        ("red / white", "red white"),
        ("3.5", "3.5"),
        ("U.S.A.", "usa"),
        ("Yes!", "yes"),
        ("t-shirt", "t shirt"),
        ("1,2 t-shirt", "12 tshirt"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("let's", "let's"),
        ("theres", "there's"),
        ("", ""),
        ("." * 40, "." * 8),
        ("a", ""),
    ],
)
def test_answers_are_made_alike_as_the_published_tool_does(text, normal):
    """The tool stops at 32 full stops, drops marks that touch a space, and knows odd contractions."""
    assert vqa_normalised(text) == normal


@pytest.mark.parametrize(
    ("answer", "people", "accuracy"),
    [
        ("dog", ["dog"] * 10, 1.0),
        ("The dog", ["dog"] * 10, 1.0),
        ("cat", ["dog"] * 10, 0.0),
        # Each of the four is judged by three others, the six by four: all full.
        ("dog", ["dog"] * 4 + ["cat"] * 6, 1.0),
        # Three said it: 2/3 for each of them, 1 for the seven others.
        ("dog", ["dog"] * 3 + ["cat"] * 7, (3 * 2 / 3 + 7) / 10),
        ("dog", ["dog"] * 2 + ["cat"] * 8, (2 * 1 / 3 + 8 * 2 / 3) / 10),
        ("dog", ["dog"] + ["cat"] * 9, 9 / 3 / 10),
        # People's answers lose their marks, but not their articles and capitals; where all agree they stay as they are.
        ("dog", ["dog."] * 5 + ["cat"] * 5, 1.0),
        ("dog", ["dog."] * 10, 0.0),
        ("dog", ["a dog"] * 5 + ["cat"] * 5, 0.0),
        ("Dog\n", ["dog"] * 10, 1.0),
        ("", [""] * 10, 1.0),
        ("dog", ["dog"], 0.0),
    ],
)
def test_accuracy_of_answers(answer, people, accuracy):
    assert vqa_accuracy(answer, tuple(people)) == pytest.approx(accuracy)


needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the tokenizer are Java programs")
REFERENCES = [
    ["A brown dog runs on the grass.", "the dog, running"],
    ["The man's hat (blue)", "a man with a blue hat"],
    ["it's 1,000 red apples!"],
]
TEXTS = ["the brown dog is running", 'a man in a "blue" hat ||| and | more', "red   apples\u2028on a table"]


@needs_java
def test_texts_are_scored_as_by_the_tools_own_classes():
    """Against Cider and Meteor of pycocoevalcap 1.2 themselves; what its Meteor said is written down, since it takes
    Java ten seconds to begin."""
    pytest.importorskip("pycocoevalcap")
    from pycocoevalcap.cider.cider import Cider

    words = tokenized(TEXTS)
    assert words[0] == "the brown dog is running"
    told = [tokenized(one) for one in REFERENCES]
    assert told[2] == ["it 's 1,000 red apples"]
    whole, single = Cider().compute_score(dict(enumerate(told)), {key: [text] for key, text in enumerate(words)})
    ours = cider(words, told)
    assert ours.whole == pytest.approx(whole) and ours.single == pytest.approx(single.tolist())
    ours = meteor(words, told)
    assert ours.whole == pytest.approx(0.3278247838794917)
    assert ours.single == pytest.approx((0.3684210526315789, 0.39043608731543533, 0.24185805672016478))


@needs_java
def test_an_empty_text_and_lines_within_texts_shift_nothing():
    pytest.importorskip("pycocoevalcap")
    assert tokenized(["a\nb\r\nc", "", "\u0085x", "the end ."]) == ["a b c", "", "x", "the end"]
    assert tokenized([]) == []


def test_missing_tools_are_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CaptionMetricsError, match=r"\./run setup captions"):
        tokenized(["a dog"])


def test_a_java_that_dies_while_it_is_written_to_is_told(tmp_path, monkeypatch):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(caption_metrics, "check_installed", lambda: None)
    monkeypatch.setattr(caption_metrics, "_folder", lambda name: tmp_path)
    # More than a pipe holds.
    with pytest.raises(CaptionMetricsError, match="METEOR failed"):
        meteor(["a dog " * 50_000], [["a dog"]])


def test_cider_by_hand():
    """Two pictures, one word each: ln 2 of idf, and of four lengths of n-grams only words are there."""
    pytest.importorskip("pycocoevalcap")
    scored = cider(["dog", "bird"], [["dog"], ["cat"]])
    assert scored.single == pytest.approx((2.5, 0.0))
    assert scored.whole == pytest.approx(1.25)


def test_a_set_of_phrases_is_summed_up_with_its_failures():
    rows = [
        PlaceItem(str(n), f"{n // 2}.jpg", "a dog", "", np.array(TWO, dtype=float), (100, 100), kinds)
        for n, kinds in enumerate([("people",), ("people", "other"), ("other",), ("scene",)])
    ]
    answers = {
        "0": said([0, 0, 0.2, 0.2]),
        "1": said([0, 0, 1, 0.2]),
        "2": said([0.5, 0.5, 0.4, 0.4], undecodable=True),
    }
    summary = summarise(ItemSet(FLICKR, "val", tuple(rows)), answers)
    shown = {figure.name: figure.score.value for figure in summary.figures}
    assert (shown["R@1 ANY-BOX"], shown["R@1 MERGED"], shown["R@1 ANY-BOX people"]) == (0.25, 0.25, 0.5)
    assert (summary.asked, summary.undecodable, summary.missing) == (4, 1, 1)
    assert all(figure.score.low <= figure.score.value <= figure.score.high for figure in summary.figures)
    assert summary.figures[0].pictures == 2 and summary.figures[0].score.method == "bootstrap over clusters"
    assert summary.floor[0].score.value == 0.0


def test_intervals_know_that_questions_about_one_picture_hang_together():
    def low(pictures: int) -> float:
        rows = tuple(
            PlaceItem(str(n), f"{n % pictures}.jpg", "x", "", np.array([[0.0, 0, 10, 10]]), (100, 100))
            for n in range(400)
        )
        answers = {str(n): said([0, 0, 0.1, 0.1]) if n % pictures < pictures // 2 else NOWHERE for n in range(400)}
        return summarise(ItemSet("RefCOCO", "val", rows), answers).figures[0].score.low

    assert low(10) < low(400) - 0.1


@needs_java
def test_names_and_captions_are_summed_up(monkeypatch):
    pytest.importorskip("pycocoevalcap")
    # Its own takes Java ten seconds to begin.
    monkeypatch.setattr("magma_eval.grounding.summary.meteor", lambda texts, told: Scored(0.4, (0.6, 0.0)))
    box = np.array([0, 0, 1.0, 1.0])
    names = ItemSet(
        "RefCOCOg names",
        "val",
        (NameItem("1", "a.jpg", box, ("the left dog", "a dog")), NameItem("2", "b.jpg", box, ("a cat",))),
    )
    summary = summarise(names, {"1": Answer(np.empty((0, 4)), "the left dog"), "2": Answer(np.empty((0, 4)), "  ")})
    shown = {figure.name: figure.score for figure in summary.figures}
    assert set(shown) == {"METEOR", "CIDEr"} and summary.undecodable == 1
    assert 0 < shown["METEOR"].value < 1 and shown["CIDEr"].value > 0
    assert all(score.low <= score.value <= score.high for score in shown.values())
    captions = ItemSet("Flickr30k captions", "test", (CaptionItem("a.jpg", "a.jpg", ("a dog runs",)),))
    assert [f.name for f in summarise(captions, {}).figures] == ["CIDEr"]


def test_questions_have_kinds_and_a_constant_answer_beside_them():
    rows = tuple(
        QuestionItem(str(n), f"{n}.jpg", "?", (word,) * 10, kind)
        for n, (word, kind) in enumerate([("yes", "yes/no"), ("2", "number"), ("dog", "other")])
    )
    answers = {"0": Answer(np.empty((0, 4)), "Yes."), "1": Answer(np.empty((0, 4)), "three")}
    summary = summarise(ItemSet("VQAv2", "val2014", rows), answers)
    assert {f.name: f.score.value for f in summary.figures} == pytest.approx(
        {"accuracy": 1 / 3, "accuracy number": 0.0, "accuracy other": 0.0, "accuracy yes/no": 1.0}
    )
    assert summary.floor[0].score.value == pytest.approx(1 / 3) and summary.missing == 1
    # What cannot be read earns nothing, whatever its text is.
    unread = summarise(ItemSet("VQAv2", "val2014", rows[:1]), {"0": Answer(np.empty((0, 4)), "yes", undecodable=True)})
    assert unread.figures[0].score.value == 0.0 and unread.undecodable == 1
    with pytest.raises(ValueError, match="not published"):
        summarise(ItemSet("VQAv2", "test", (QuestionItem("1", "a.jpg", "?", (), ""),)), {})
