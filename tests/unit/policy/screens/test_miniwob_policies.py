"""Policies for pages without a browser: what they do with what a page offers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("magma_eval", reason="magma-eval is not installed beside magma-policy")

from magma_contracts.errors import ConfigError
from magma_eval.benchmarks import benchmark_of
from magma_eval.episodes import Episode
from magma_eval.policies.interface import PolicyMismatchError
from magma_eval.suites import SUITES, suite_episodes
from magma_policy.errors import CommandError
from magma_policy.screens.actions import Kind, ScreenAction
from magma_policy.screens.agent import Form
from magma_policy.screens.candidates import Candidate
from magma_policy.screens.form import FILE, asked_form, write_form
from magma_policy.screens.miniwob.benchmark import BENCHMARK
from magma_policy.screens.miniwob.checkpoints import PagePolicy
from magma_policy.screens.miniwob.experts import EXPERTS, corners_in
from magma_policy.screens.miniwob.observation import PageObservation
from magma_policy.screens.miniwob.pages import ENVIRONMENT, LEARNED, TASKS, most_steps, pages_folder
from magma_policy.screens.miniwob.scripted import SCRIPTED

EPISODE = Episode("pages", "enter-text", "eval", 0, make="enter-text", layout=0)


def page(task: str, *marks: Candidate, step: int = 0, **fields: object) -> PageObservation:
    shades = np.full((420, 320, 3), 255 - step, np.uint8)
    return PageObservation(shades, marks, step, success=False, ended=False, instruction=task, **fields)


def mark(name: str, role: str = "button", at: int = 0, **fields: object) -> Candidate:
    return Candidate((10, 10 + 40 * at, 110, 40 + 40 * at), role, name, key=f"{at}", **fields)


def test_the_suites_are_known_with_seeds_of_their_own():
    assert len(TASKS) == len(set(TASKS)) == 130 and set(LEARNED) <= set(TASKS) and len(LEARNED) >= 12
    assert set(EXPERTS) == set(LEARNED)
    assert {"miniwob", "miniwob-learned", "miniwob-controls"} <= set(SUITES)
    assert {episode.make for episode in suite_episodes("miniwob")} == set(TASKS)
    assert {episode.reset_variant for episode in suite_episodes("miniwob-learned")} == {"eval"}
    controls = {episode.variant: episode.options for episode in suite_episodes("miniwob-controls")}
    assert controls == {name: {"control": name} for name in ("grey_picture", "shuffled_words", "other_task")}
    assert benchmark_of("click-test") is BENCHMARK
    assert most_steps("guess-number") == 30 and most_steps("click-test") == 10


def test_missing_pages_are_told_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    with pytest.raises(CommandError, match=r"\./run setup screens"):
        pages_folder()
    for name in ("miniwob/click-test.html", "core/core.js"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    assert pages_folder() == tmp_path.resolve()


def test_words_fill_what_is_quoted_and_then_send():
    policy = SCRIPTED["words"](EPISODE, 0)
    policy.reset("")
    task = 'Enter "Ann Lee" into the text field and press Submit.'
    marks = (mark("", "textbox"), mark("Submit", at=1))
    assert policy.act(page(task, *marks)) == ScreenAction(Kind.TYPE, 0, text="Ann Lee")
    assert policy.act(page(task, *marks)) == ScreenAction(Kind.CLICK, 1)


def test_words_take_the_longest_name_that_stands_in_the_task_and_an_option_of_a_list():
    policy = SCRIPTED["words"](EPISODE, 0)
    policy.reset("")
    assert policy.act(page("Click on Tab #2.", mark("Tab"), mark("Tab #2", at=1))) == ScreenAction(Kind.CLICK, 1)
    policy.reset("")
    listed = mark("", "combobox", options=("Albania", "Chad"))
    assert policy.act(page("Select Chad from the list.", listed)) == ScreenAction(Kind.SELECT, 0, text="Chad")
    policy.reset("")
    assert policy.act(page("Select all of it")) is None


def test_random_marks_follow_from_seed_and_episode_alone_and_fit_their_marks():
    marks = (mark("", "textbox"), mark("Go", at=1), mark("", "combobox", at=2, options=("a", "b")))
    task = 'Type "x y"'
    drawn = [[SCRIPTED["random"](EPISODE, seed).act(page(task, *marks)) for seed in range(40)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    kinds = {(action.kind, action.mark, action.text) for action in drawn[0]}
    assert kinds == {(Kind.TYPE, 0, "x y"), (Kind.CLICK, 1, ""), (Kind.SELECT, 2, "a"), (Kind.SELECT, 2, "b")}
    assert SCRIPTED["random"](EPISODE, 0).act(page(task)) is None


def test_there_is_an_expert_only_for_what_is_learned():
    with pytest.raises(PolicyMismatchError, match="no scripted expert for 'enter-text'"):
        SCRIPTED["expert"](EPISODE, 0)
    assert SCRIPTED["hold"](EPISODE, 0).act(page("Wait.")) is None


@pytest.mark.parametrize("sides", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("turned", [0, 17, 45, 90, 133])
def test_corners_are_counted_on_the_picture(sides, turned):
    angles = np.deg2rad(turned + 360.0 * np.arange(sides) / sides)
    corners = np.rint(np.stack([150 + 70 * np.cos(angles), 100 + 70 * np.sin(angles)], 1)).astype(np.int32)
    drawn = cv2.polylines(np.full((200, 300, 3), 255, np.uint8), [corners], True, (0, 0, 0), 6, cv2.LINE_AA)
    assert corners_in(drawn) == sides
    assert corners_in(np.full((20, 20, 3), 255, np.uint8)) == 0


def answering(*answers: str) -> tuple[PagePolicy, list]:
    asked: list = []

    def answer(question):
        asked.append(question)
        return answers[min(len(asked), len(answers)) - 1]

    policy = PagePolicy("model", answer, Form.CLICK, 10)
    policy.reset("Click on the lime box.")
    return policy, asked


def test_a_checkpoint_is_shown_marks_and_the_task_and_no_text_of_the_page():
    policy, asked = answering("Coordinate: (0.2, 0.1). Mark: 1")
    first = page("Click on the lime box.", mark("secret name"), mark("other name", at=1))
    assert policy.act(first) == ScreenAction(Kind.CLICK, 1)
    assert "Click on the lime box." in asked[0].words and "name" not in asked[0].words
    assert not np.array_equal(asked[0].image, first.image)
    assert set(policy.stage_ms) == {"marks", "model"}


def test_an_answer_that_names_no_mark_is_asked_again_and_then_given_up():
    policy, asked = answering("I cannot", "Mark: 9")
    shown = page("Click on the lime box.", mark("a"))
    assert policy.act(shown) is None
    assert policy.act(shown) == ScreenAction(Kind.STATUS, text="IMPOSSIBLE")
    assert len(asked) == 2


def test_what_the_page_refused_counts_as_a_refusal():
    policy, _ = answering("Mark: 0")
    policy.act(page("x", mark("a")))
    policy.act(page("x", mark("a"), step=1, refusal="something covers it"))
    end = policy.act(page("x", mark("a"), step=2, refusal="something covers it"))
    assert end == ScreenAction(Kind.STATUS, text="IMPOSSIBLE")


def test_of_a_view_in_parts_the_number_is_that_in_the_whole():
    marks = [Candidate((x, y, x + 8.0, y + 8.0), key=f"{x} {y}") for y in range(0, 400, 40) for x in range(0, 320, 40)]
    policy, asked = answering("nothing", "Mark: 0")
    shown = page("x", *marks)
    assert policy.act(shown) is None
    action = policy.act(shown)
    assert len(asked[1].candidates) < len(marks)
    assert action is not None and marks[action.mark] == asked[1].candidates[0] and action.mark > 0


@pytest.mark.parametrize("form", list(Form))
def test_the_form_stands_beside_the_weights(tmp_path, form):
    assert asked_form(tmp_path) is Form.WEB
    write_form(tmp_path, form)
    assert asked_form(tmp_path) is form


@pytest.mark.parametrize("text", ['{"form": "dance"}', '{"form": "web", "more": 1}', "{}", "[]", "{"])
def test_another_form_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError):
        asked_form(tmp_path)
