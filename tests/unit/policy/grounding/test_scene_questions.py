"""Questions about scenes: what is asked has one right answer, and answers are spread so that a guess shows."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_contracts.scenes import CARD, CLICKS, FORMAT_VERSION, SCENES
from magma_policy.commands import questions as command
from magma_policy.grounding.expressions import Thing, resolve
from magma_policy.grounding.scene_questions import APART, NUMBERS, SceneQuestions
from magma_policy.grounding.scenes import Scene
from magma_policy.training.recipes.chat.rows import read_conversations

KINDS, COLOURS = ("block", "spoon", "carrot", "dish"), ("red", "green", "orange")
NAMES = [(kind, colour) for kind in KINDS for colour in COLOURS]


def thing(kind, colour, x):
    return Thing(kind, colour, (x - 0.05, 0.4, x + 0.05, 0.6))


def scene(*things, hidden=()):
    return Scene(things, np.zeros((len(things), CLICKS, 2)), frozenset(hidden))


THINGS = st.lists(st.builds(thing, st.sampled_from(KINDS), st.sampled_from(COLOURS), st.floats(0.05, 0.95)), max_size=5)


def middle(things, words):
    found = resolve(things, words)
    assert len(found) == 1, f"{words} picks out {found}"
    return things[found[0]].middle[0]


def right_answer(scene, question):
    """Worked out anew from the words of a question alone."""
    things = scene.things
    if match := re.fullmatch(r"Which thing is furthest to the (left|right)\?", question):
        places = sorted((t.middle[0], f"The {t.colour} {t.kind}.") for t in things)
        assert abs(places[-1][0] - places[-2][0] if match[1] == "right" else places[1][0] - places[0][0]) >= APART
        return places[-1 if match[1] == "right" else 0][1]
    if match := re.fullmatch(r"Is (the .+) on the left, in the middle or on the right\?", question):
        x = middle(things, match[1])
        return "On the left." if x < 1 / 3 else "On the right." if x > 2 / 3 else "In the middle."
    if match := re.fullmatch(r"What colour is (the \w+)\?", question):
        return f"{things[resolve(things, match[1])[0]].colour.capitalize()}."
    if match := re.fullmatch(r"How many (\w+) are there\?", question):
        kinds = {f"{kind}es" if kind == "dish" else f"{kind}s": kind for kind in KINDS}
        return f"{NUMBERS[sum(t.kind == kinds[match[1]] for t in things)].capitalize()}."
    if match := re.fullmatch(r"Is (the .+) to the (left|right) of (the .+)\?", question):
        gap = middle(things, match[1]) - middle(things, match[3])
        assert abs(gap) >= APART
        return "Yes." if (gap < 0) == (match[2] == "left") else "No."
    match = re.fullmatch(r"Is there an? (\w+) (\w+) in the picture\?", question)
    return "Yes." if any((t.colour, t.kind) == match.groups() for t in things) else "No."


@settings(max_examples=150)
@given(THINGS, st.integers(0, 2**32 - 1))
def test_every_question_has_the_answer_that_its_words_have(things, seed):
    one = scene(*things)
    asked = SceneQuestions(NAMES).draw(one, 8, np.random.default_rng(seed))
    assert len({each.question for each in asked}) == len(asked) <= 8
    for each in asked:
        assert each.answer == right_answer(one, each.question), each


def test_what_is_hidden_is_neither_there_nor_absent():
    one = scene(thing("block", "red", 0.2), thing("spoon", "green", 0.8), hidden=[("carrot", "orange")])
    asked = [a for n in range(200) for a in SceneQuestions(NAMES).draw(one, 8, np.random.default_rng(n))]
    assert not any(a.kind in ("how many", "which") or "orange carrot" in a.question for a in asked)


def test_no_answer_is_given_away_by_its_kind_of_question():
    dice, answers = np.random.default_rng(0), defaultdict(Counter)
    for _ in range(800):
        things = [
            thing(KINDS[dice.integers(4)], COLOURS[dice.integers(3)], dice.uniform(0.05, 0.95))
            for _ in range(dice.integers(2, 5))
        ]
        for each in SceneQuestions(NAMES).draw(scene(*things), 6, dice):
            answers[each.kind][each.answer] += 1
    assert set(answers) == {"which", "where", "colour", "how many", "left of", "yes or no"}
    for kind, counts in answers.items():
        assert counts.most_common(1)[0][1] < 0.7 * counts.total(), (kind, counts)


@pytest.fixture
def scenes(tmp_path):
    folder = tmp_path / "scenes"
    (folder / SCENES).mkdir(parents=True)
    (folder / CARD).write_text(json.dumps({"format_version": FORMAT_VERSION, "split": "train"}))
    boxes = np.array([[0.1, 0.1, 0.2, 0.2], [0.7, 0.7, 0.8, 0.8]] * 3, np.float32)
    np.savez(
        folder / SCENES / "0000000-3.npz",
        images=np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=np.uint8),
        scene=np.repeat(np.arange(3, dtype=np.int32), 2),
        kind=np.array(["block", "spoon"] * 3),
        colour=np.array(["red", "green"] * 3),
        box=boxes,
        clicks=np.full((6, CLICKS, 2), 0.5, np.float32),
    )
    return folder


def test_the_command_writes_rows_that_the_recipe_reads(scenes, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["magma-questions", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out + captured.err

    status, text = run(scenes, "--out", tmp_path / "rows", "--per-scene", 4)
    assert status == 0 and "questions about 3 scenes" in text
    found = read_conversations((tmp_path / "rows" / "questions.json",), None)
    assert not found.problems and len(found.rows) == len({row.name for row in found.rows}) >= 9
    assert found.rows[0].turns[0].question.endswith("Answer the question briefly.") and found.rows[0].sizes == (
        (16, 16),
    )
    first = (tmp_path / "rows" / "questions.json").read_bytes()
    assert run(scenes, "--out", tmp_path / "again", "--per-scene", 4)[0] == 0
    assert (tmp_path / "again" / "questions.json").read_bytes() == first
    assert run(scenes, "--out", tmp_path / "other", "--split", "test")[0] == 1
    assert run(scenes, "--out", tmp_path / "other", "--per-scene", 0)[0] == 2
