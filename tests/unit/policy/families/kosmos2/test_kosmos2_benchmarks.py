"""KOSMOS-2 as published benchmarks ask it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from magma_eval.grounding import command, models
from magma_eval.grounding.models import Shown
from magma_eval.results.episode_result import ResultsError
from magma_policy.families.kosmos2 import prompts
from magma_policy.families.kosmos2.benchmark_model import BenchmarkModel
from magma_policy.families.kosmos2.parser import parse, parse_corners
from tests.unit.eval.grounding_files import flickr, picture, refcoco, write


class Said:
    """A model whose next ids are given."""

    def __init__(self, vocabulary, ids):
        self.vocabulary, self._ids, self.prompts = vocabulary, ids, []

    def said(self, image, prompt, rules, lead=(), *, keep_turned=False):
        self.prompts.append(prompt.ids)
        return parse_corners(self.vocabulary, [*lead, *self._ids], keep_turned=keep_turned)[0]


def test_a_phrase_stands_behind_its_caption(words, pictures):
    place = [words.object_open, words.place(0), words.place(33), words.object_close]
    asked = Said(words, place)
    answer = BenchmarkModel(asked, "").place(pictures[0], "a plate", "the carrot on ")
    expected = (words.bos, *words.image_ids, words.grounding, *words.encode("the carrot on "), words.phrase_open,
                *words.encode("a plate"), words.phrase_close)  # fmt: skip
    assert asked.prompts == [expected]
    assert prompts.locate(words, "a plate", "the carrot on ").ids == expected
    assert answer.boxes.shape == (1, 4) and not answer.undecodable


@pytest.mark.parametrize("kind", ["nothing", "a word first", "turned round", "one corner", "another phrase"])
def test_what_is_no_box_of_the_phrase_cannot_be_read(words, pictures, kind):
    box = [words.object_open, words.place(0), words.place(33), words.object_close]
    ids = {
        "nothing": [words.eos],
        "a word first": [*words.encode("on the plate"), *box],
        "turned round": [words.object_open, words.place(33), words.place(0), words.object_close],
        "one corner": [words.object_open, words.place(33), words.object_close],
        "another phrase": [words.phrase_open, *words.encode("the spoon"), words.phrase_close, *box],
    }[kind]
    answer = BenchmarkModel(Said(words, ids), "").place(pictures[0], "a carrot", "")
    assert answer.undecodable and not len(answer.boxes)


def test_a_turned_pair_keeps_its_rank_as_a_miss(words, pictures):
    pairs = [(33, 0), (0, 33)]
    places = [words.place(cell) for cell in pairs[0]], [words.place(cell) for cell in pairs[1]]
    ids = [words.object_open, *places[0], words.delimiter, *places[1], words.object_close]
    answer = BenchmarkModel(Said(words, ids), "").place(pictures[0], "a carrot", "")
    assert not answer.undecodable and answer.boxes.shape == (2, 4)
    width, height = (answer.boxes[:, 2:] - answer.boxes[:, :2]).T
    assert ((width > 0) & (height > 0)).tolist() == [False, True]
    # Whoever points, and counts no ranks, gets boxes alone.
    assert [len(one.boxes) for one in parse(words, ids).entities] == [1]


def test_names_are_greedy_also_of_a_checkpoint_that_weighs_them(model, pictures, monkeypatch):
    box = np.array([0.1, 0.1, 0.5, 0.5])
    greedy = model.refer(pictures[0], box).text
    monkeypatch.setattr(model.network, "geometry", dataclasses.replace(model.network.geometry, names_weighed=4))
    monkeypatch.setattr(model, "_found_again", lambda *asked: pytest.fail("names were weighed"))
    assert BenchmarkModel(model, "").name(pictures[0], box, ()).text == greedy


def test_later_phrases_are_not_the_one_that_was_asked_about(words, pictures):
    box = [words.object_open, words.place(0), words.place(33), words.object_close]
    other = [words.object_open, words.place(99), words.place(199), words.object_close]
    ids = [*box, *words.encode("on"), words.phrase_open, *words.encode("a carrot"), words.phrase_close, *other]
    answer = BenchmarkModel(Said(words, ids), "").place(pictures[0], "a carrot", "")
    assert len(answer.boxes) == 1 and answer.boxes[0, 0] < 0.1


def test_a_constrained_answer_always_has_a_box(model, pictures):
    constrained = BenchmarkModel(model, "", constrained=True)
    for image in pictures:
        assert len(constrained.place(image, "the carrot", "").boxes) >= 1
    assert "well-formed" in constrained.protocol and "free" in BenchmarkModel(model, "").protocol


def test_names_captions_and_answers_are_words(model, pictures):
    asked = BenchmarkModel(model, "")
    box = np.array([0.1, 0.1, 0.5, 0.5])
    shown = [Shown(pictures[1], box, "the spoon")]
    for text in (asked.name(pictures[0], box, shown).text, asked.caption(pictures[0]).text,
                 asked.answer(pictures[0], "Is there a carrot?").text):  # fmt: skip
        assert "<" not in text and text == text.strip()
    assert (
        asked.name(pictures[0], box, shown).text
        == model.refer(pictures[0], box, [(pictures[1], prompts.Example(box, "the spoon"))]).text.strip()
    )


def test_kosmos_tiny_is_asked_by_name(tmp_path, capsys):
    picture(tmp_path / "pictures/7.jpg")
    picture(tmp_path / "pictures/COCO_train2014_000000000042.jpg")
    for name, rows, count in (("flickr30k", flickr(), 2), ("refcoco", refcoco(), 3)):
        path = write(tmp_path / f"{name}_val.json", rows)
        config = command.EvalGroundingConfig(
            name, (path,), policy="kosmos-tiny", pictures=tmp_path / "pictures", json=True, device="cpu",
            out=tmp_path / f"{name}.jsonl",
        )  # fmt: skip
        assert command.evaluate(config) == 0
        (told,) = json.loads(capsys.readouterr().out)
        assert told["asked"] == count and told["missing"] == 0


def test_a_checkpoint_that_does_not_point_is_refused_in_a_sentence():
    with pytest.raises(ResultsError, match="magma-tiny"):
        models.load("magma-tiny", "cpu")
    with pytest.raises(ResultsError, match="nowhere"):
        models.load("./nowhere", "cpu")
