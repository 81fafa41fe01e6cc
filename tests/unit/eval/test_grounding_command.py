"""magma-eval-grounding: from published files and a model, or its answers, to figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from magma_contracts.errors import ConfigError
from magma_eval.grounding import command, models
from magma_eval.grounding.answers import AnswerFile, read_answers
from magma_eval.grounding.command import EvalGroundingConfig, evaluate
from magma_eval.grounding.items import Answer
from magma_eval.grounding.models import Shown
from magma_eval.grounding.summary import SetSummary
from magma_eval.questions.benchmarks import published_scores
from magma_eval.results.episode_result import ResultsError
from tests.unit.eval.grounding_files import flickr, picture, refcoco, vqa, write

NONE = np.empty((0, 4))


class Scripted:
    """Always says the same, and remembers what it was asked."""

    identity, protocol = "c0ffee", "scripted"

    def __init__(self, stop_after: int = 1000) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.shown: list[str] = []
        self._stop_after = stop_after

    def _note(self, *words: str) -> None:
        if len(self.asked) == self._stop_after:
            raise KeyboardInterrupt
        self.asked.append(words)

    def place(self, image: np.ndarray, phrase: str, before: str) -> Answer:
        self._note(before, phrase)
        return Answer(np.array([[0.05, 0.1, 0.3, 0.6]]))

    def name(self, image: np.ndarray, box: np.ndarray, shown: Sequence[Shown]) -> Answer:
        self.shown = [one.name for one in shown]
        self._note("name")
        return Answer(NONE, "the left dog")

    def caption(self, image: np.ndarray) -> Answer:
        return Answer(NONE, "a dog")

    def answer(self, image: np.ndarray, question: str) -> Answer:
        self._note(question)
        return Answer(NONE, "A dog.")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    picture(folder / "7.jpg")
    picture(folder / "train2014/COCO_train2014_000000000042.jpg")
    picture(folder / "val2014/COCO_val2014_000000000042.jpg")
    return folder


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    chosen = Scripted()
    monkeypatch.setattr(command, "load", lambda name, device, *, constrained: chosen)
    return chosen


def test_phrases_are_asked_behind_their_captions(tmp_path, pictures, model, capsys):
    path = write(tmp_path / "final_flickr_separateGT_test.json", flickr())
    assert evaluate(EvalGroundingConfig("flickr30k", (path,), policy="x", pictures=pictures, json=True)) == 0
    assert model.asked == [("", "Two dogs"), ("Two dogs play with ", "a dog")]
    (told,) = json.loads(capsys.readouterr().out)
    assert {f["name"]: f["score"]["value"] for f in told["figures"]}["R@1 ANY-BOX"] == 0.5
    assert told["floor"] and told["published"] and told["asked"] == 2


def test_the_text_names_counts_floor_and_what_others_report(tmp_path, pictures, model, capsys):
    path = write(tmp_path / "finetune_refcocog_val.json", refcoco())
    evaluate(EvalGroundingConfig("refcoco", (path,), policy="x", pictures=pictures))
    shown = capsys.readouterr().out
    for part in ("RefCOCOg val: 3 questions", "66.67", "whole picture", "KOSMOS-2 60.6 (val)", "Grounding DINO-T",
                 "Florence-2-base", "0 answers undecodable"):  # fmt: skip
        assert part in " ".join(shown.split()), shown


def test_an_interrupted_run_goes_on_and_ends_alike(tmp_path, pictures, monkeypatch, capsys):
    files = tuple(write(tmp_path / f"finetune_{name}_val.json", refcoco(name)) for name in ("refcoco", "refcocog"))
    config = EvalGroundingConfig("refcoco", files, policy="x", pictures=pictures, out=tmp_path / "o.jsonl", json=True)
    cut = Scripted(stop_after=4)
    monkeypatch.setattr(command, "load", lambda name, device, *, constrained: cut)
    with pytest.raises(KeyboardInterrupt):
        evaluate(config)
    with (tmp_path / "o.jsonl").open("a") as file:
        file.write('{"id": "RefCOCOg val 6", "bo')  # as a kill leaves it
    again = Scripted()
    monkeypatch.setattr(command, "load", lambda name, device, *, constrained: again)
    evaluate(config)
    assert len(again.asked) == 2
    through = json.loads(capsys.readouterr().out)
    answered = EvalGroundingConfig("refcoco", files, answers=tmp_path / "o.jsonl", json=True)
    evaluate(answered)
    by_answers = json.loads(capsys.readouterr().out)
    assert [one["figures"] for one in by_answers] == [one["figures"] for one in through]
    other = Scripted()
    other.identity = "decaf"
    monkeypatch.setattr(command, "load", lambda name, device, *, constrained: other)
    with pytest.raises(ResultsError, match="answers of another run: model is"):
        evaluate(config)


def test_demonstrations_are_objects_of_other_pictures(tmp_path, pictures, model, monkeypatch):
    monkeypatch.setattr(command, "check_installed", lambda: None)
    monkeypatch.setattr(command, "summarise", lambda items, answers: SetSummary(items, (), len(answers), 0, 0))
    train = refcoco()
    for row in train["images"][2:]:
        row["file_name"] = "7.jpg"
    path, shown = write(tmp_path / "g_val.json", refcoco()), write(tmp_path / "g_train.json", train)
    config = EvalGroundingConfig("names", (path,), policy="x", pictures=pictures, shots=2, demonstrations=shown)
    assert evaluate(config) == 0
    assert sorted(model.shown) == ["the cat on the right", "the left dog"]
    with pytest.raises(ResultsError, match="too few for --shots 3"):
        evaluate(EvalGroundingConfig("names", (path,), policy="x", pictures=pictures, shots=3, demonstrations=shown))


def test_answers_of_a_hidden_truth_go_to_the_server(tmp_path, pictures, model, capsys):
    questions, told = vqa(["a dog"] * 10)
    path, out = write(tmp_path / "q.json", questions), tmp_path / "result.json"
    assert evaluate(EvalGroundingConfig("vqav2", (path,), policy="x", pictures=pictures, submission=out)) == 0
    assert json.loads(out.read_text()) == [{"question_id": 42000, "answer": "A dog."}]
    evaluate(EvalGroundingConfig("vqav2", (path, write(tmp_path / "a.json", told)), policy="x", pictures=pictures))
    assert "accuracy" in capsys.readouterr().out
    with pytest.raises(ValueError, match="not published"):
        evaluate(EvalGroundingConfig("vqav2", (path,), policy="x", pictures=pictures))


def test_a_missing_and_another_picture_are_told(tmp_path, pictures, model):
    path = write(tmp_path / "finetune_refcocog_val.json", refcoco())
    config = EvalGroundingConfig("refcoco", (path,), policy="x", pictures=pictures)
    file = pictures / "train2014/COCO_train2014_000000000042.jpg"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ResultsError, match="cannot be read as a picture"):
        evaluate(config)
    file.unlink()
    with pytest.raises(ResultsError, match="no such picture"):
        evaluate(config)
    small = picture(file)
    data = refcoco()
    data["images"][0]["width"] = 50
    write(path, data)
    with pytest.raises(ResultsError, match="another copy of the picture"):
        evaluate(config)
    assert small.exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "either --policy or --answers"),
        ({"policy": "x"}, "--pictures"),
        ({"answers": Path("a"), "limit": 0}, "--limit"),
        ({"answers": Path("a"), "shots": 2}, "--shots and --demonstrations"),
        ({"answers": Path("a"), "shots": 99}, "--shots"),
        ({"answers": Path("a"), "submission": Path("b")}, "--submission"),
        ({"answers": Path("a"), "out": Path("b")}, "--out"),
    ],
)
def test_options_that_do_not_go_together(more, told):
    with pytest.raises(ConfigError, match=told):
        EvalGroundingConfig("refcoco", (Path("f"),), **more)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": 1}', "neither boxes nor a text"),
        ('{"id": 1, "boxes": [[0, 0, 1]]}', "a box must be"),
        ('{"id": 1, "boxes": [[0, 0, 640, 480]]}', "fractions of the picture"),
        ('{"id": 1, "boxes": [[0, 0, NaN, 1]]}', "a box must be"),
        (f'{{"id": 1, "boxes": [[0, 0, {10**400}, 1]]}}', "a box must be"),
        ('{"id": 1, "text": "half \\ud83d"}', "half a character"),
        ('{"id": "\\ud83d", "text": "a"}', "half a character"),
        ('{"id": null, "text": "a"}', "id must be"),
        ('{"id": 1, "text": 3}', "text must be a text"),
        ('{"id": 1, "text": "a", "box": []}', "no part of an answer"),
        ("[]", "expected an object"),
        ("{", "not JSON"),
        ('{"id": 1, "text": "a"}\n{"id": "1", "text": "a"}', "line 2: a second answer"),
    ],
)
def test_a_damaged_answer_is_named_with_its_line(tmp_path, line, told):
    path = tmp_path / "answers.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(ResultsError, match=told) as error:
        read_answers(path)
    assert "answers.jsonl, line" in str(error.value)


def test_a_box_that_is_turned_round_cannot_be_read_and_is_not_repaired(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a", "boxes": [[0.5, 0, 0.2, 1]]}\n', encoding="utf-8")
    assert read_answers(path)[0]["a"].undecodable


def test_answers_come_back_as_they_were_written(tmp_path):
    given = {
        "a": Answer(np.array([[0.1, 0.2, 0.3, 0.4]])),
        "b": Answer(NONE, "ein Hund\n\u2028ü"),
        "c": Answer(NONE, undecodable=True),
    }
    with AnswerFile(tmp_path / "o.jsonl", {"model": "m"}) as file:
        for name, answer in given.items():
            file.add(name, answer)
        with pytest.raises(ResultsError, match="another evaluation is writing"):
            AnswerFile(tmp_path / "o.jsonl", {"model": "m"})
    found, head = read_answers(tmp_path / "o.jsonl")
    assert head == {"model": "m"}
    for name, answer in given.items():
        assert (found[name].text, found[name].undecodable) == (answer.text, answer.undecodable)
        np.testing.assert_allclose(found[name].boxes, answer.boxes)


@pytest.mark.parametrize(
    "content",
    [
        b"notes without an end of line", b"notes\nof somebody", b'{"id": "a", "text": "b"}\n', b"\x00\xff" * 40,
        b'{"answers_of": {"model": "other"}}\n{"id": "a", "te', b'{"answers_of": {"model": "m"}} and more\n',
    ],
)  # fmt: skip
def test_a_file_that_holds_something_else_is_left_as_it_is(tmp_path, content):
    path = tmp_path / "o.jsonl"
    path.write_bytes(content)
    with pytest.raises(ResultsError):
        AnswerFile(path, {"model": "m"})
    assert path.read_bytes() == content


def test_a_first_line_that_was_cut_off_is_begun_again(tmp_path):
    path = tmp_path / "o.jsonl"
    path.write_bytes(b'{"answers_of": {"mod')
    with AnswerFile(path, {"model": "m"}) as file:
        file.add("a", Answer(NONE, "b"))
    assert read_answers(path)[1] == {"model": "m"} and list(read_answers(path)[0]) == ["a"]


def test_a_last_line_that_only_lacks_its_end_is_an_answer(tmp_path):
    path = tmp_path / "o.jsonl"
    with AnswerFile(path, {"model": "m"}) as file:
        file.add("a", Answer(NONE, "b"))
        file.add("c", Answer(NONE, "d"))
    path.write_bytes(path.read_bytes().rstrip())
    assert list(read_answers(path)[0]) == ["a", "c"]
    with AnswerFile(path, {"model": "m"}) as file:
        assert list(file.answers) == ["a", "c"]
        file.add("e", Answer(NONE, "f"))
    assert list(read_answers(path)[0]) == ["a", "c", "e"]


def test_answers_to_other_questions_are_refused(tmp_path, pictures, model, capsys):
    path, out = write(tmp_path / "finetune_refcocog_val.json", refcoco()), tmp_path / "new/o.jsonl"
    evaluate(EvalGroundingConfig("refcoco", (path,), policy="x", pictures=pictures, out=out))
    capsys.readouterr()
    evaluate(EvalGroundingConfig("refcoco", (path,), answers=out))
    assert "c0ffee, scripted" in " ".join(capsys.readouterr().out.split())
    # The same ids, other words.
    data = refcoco()
    data["images"][0]["caption"] = "another dog"
    with pytest.raises(ResultsError, match="other questions: its files is"):
        evaluate(EvalGroundingConfig("refcoco", (write(tmp_path / "g_val.json", data),), answers=out))
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text('{"id": 5, "boxes": []}\n{"id": 99, "boxes": []}\n')
    with pytest.raises(ResultsError, match="'99' is no question of these files"):
        evaluate(EvalGroundingConfig("refcoco", (path,), answers=foreign))
    evaluate(EvalGroundingConfig("refcoco", (path,), answers=foreign, limit=1))
    with pytest.raises(ResultsError, match="give each set once"):
        evaluate(EvalGroundingConfig("refcoco", (path, path), answers=foreign))


def test_folders_are_made_before_anything_is_asked(tmp_path, pictures, model):
    questions, told = vqa(["a dog"] * 10)
    files = (write(tmp_path / "q.json", questions), write(tmp_path / "a.json", told))
    out, server = tmp_path / "one/two/o.jsonl", tmp_path / "three/four/result.json"
    evaluate(EvalGroundingConfig("vqav2", files, policy="x", pictures=pictures, out=out, submission=server))
    assert out.is_file() and server.is_file()
    # The second file is not seen by whoever answers.
    evaluate(EvalGroundingConfig("vqav2", files[:1], answers=out, submission=server))


def test_published_figures_have_a_protocol_and_a_source():
    scores = published_scores(room="magma_eval.grounding")
    by = {(one.set, one.model, one.part): one.score for one in scores}
    assert by["RefCOCOg", "KOSMOS-2", "test"] == 61.65
    assert by["Flickr30k Entities", "KOSMOS-2", "R@1 test"] == 78.7
    assert {one.set for one in scores} == {
        "Flickr30k Entities", "RefCOCO", "RefCOCO+", "RefCOCOg", "RefCOCOg names", "Flickr30k captions", "VQAv2",
    }  # fmt: skip
    assert all(one.protocol and one.source for one in scores)


def test_an_unknown_model_is_told(monkeypatch):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **group: [])
    with pytest.raises(ResultsError, match="knows a model that points"):
        models.load("somebody/model")
