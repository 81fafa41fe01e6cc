"""Pages of MiniWoB++ in a real browser, as the evaluator plays them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright", reason="Playwright is not installed; run: ./run setup screens")
if shutil.which("chromium") is None:
    pytest.skip("no Chromium here; run: ./run setup screens", allow_module_level=True)

from magma_eval.episodes import Episode, write_suite_file
from magma_eval.policies.choice import PolicyChoice
from magma_eval.policies.replay import ReplayPolicy
from magma_eval.report.clips import film
from magma_eval.results.episode_result import EpisodeResult, Key
from magma_eval.results.run_folder import RunFolder
from magma_eval.rollout.loop import rollout
from magma_eval.rollout.settings import RolloutSettings
from magma_eval.run.plan import RunConfig
from magma_eval.run.runner import Runner
from magma_policy.errors import CommandError
from magma_policy.screens.actions import Kind, ScreenAction
from magma_policy.screens.miniwob.demonstrations import Demonstrator
from magma_policy.screens.miniwob.experts import EXPERTS
from magma_policy.screens.miniwob.pages import pages_folder
from magma_policy.screens.miniwob.scripted import SCRIPTED
from magma_policy.screens.miniwob.task import MiniWobTask

try:
    pages_folder()
except CommandError as error:
    pytest.skip(str(error), allow_module_level=True)


def episode(name: str, layout: int = 0) -> Episode:
    return Episode("pages", name, "eval", layout, make=name, layout=layout)


@pytest.mark.parametrize("name", EXPERTS)
def test_every_page_that_is_learned_is_solved_by_its_script_and_ends_there(name, tmp_path):
    task = MiniWobTask(name)
    try:
        played = rollout(task, SCRIPTED["expert"](episode(name), 0), episode(name), RolloutSettings())
        assert played.success.last and 1 <= played.steps < task.spec.max_steps
        assert played.steps == played.queries
        # The same page again: what was recorded solves it, and is filmed as it went.
        again = rollout(
            task, ReplayPolicy(played.record, action_type=task.action_type), episode(name), RolloutSettings()
        )
        assert again.success == played.success and again.instruction == played.instruction
        if name == "click-test":
            key = Key("pages", name, "eval", 0, 0, "expert", "c", "code")
            result = EpisodeResult(
                key, episode(name), "ok", "last", "lockstep", None, "", success=played.success, max_steps=10
            )
            assert film(task, result, played.record, tmp_path / "film.mp4", "last").faithful
    finally:
        task.close()


def test_a_seed_decides_the_page_and_the_instruction_is_not_on_the_picture():
    task = MiniWobTask("click-test-2")
    try:
        first, other, again = (task.reset("eval", layout) for layout in (3, 4, 3))
        assert first.candidates != other.candidates
        assert np.array_equal(first.image, again.image) and first.instruction == again.instruction
        assert [item.box for item in first.candidates] == [item.box for item in again.candidates]
        trained = task.reset("train", 3)
        assert not np.array_equal(first.image, trained.image)
        # The yellow bar.
        assert not ((first.image[..., 0] > 200) & (first.image[..., 1] > 200) & (first.image[..., 2] < 60)).any()
    finally:
        task.close()


def test_wrong_marks_are_told_and_a_wrong_click_ends_the_page_with_its_reward():
    task = MiniWobTask("click-test-2")
    try:
        page = task.reset("eval", 1)
        wanted = page.instruction.rstrip(".").split()[-1]
        missing = task.step(ScreenAction(Kind.CLICK, len(page.candidates)))
        assert "names none of" in missing.refusal and not missing.ended
        wrong = next(number for number, item in enumerate(page.candidates) if item.name != wanted)
        ended = task.step(ScreenAction(Kind.CLICK, wrong))
        assert ended.ended and not ended.success and ended.reward == -1.0 and not ended.candidates
        assert task.step(ScreenAction(Kind.CLICK, wrong)).reward == -1.0
        task.reset("eval", 1)
        given_up = task.step(ScreenAction(Kind.STATUS, text="COMPLETE"))
        assert given_up.ended and not given_up.success
    finally:
        task.close()


def test_text_is_typed_and_sent():
    task = MiniWobTask("enter-text")
    try:
        words = SCRIPTED["words"](episode("enter-text"), 0)
        assert rollout(task, words, episode("enter-text"), RolloutSettings()).success.last
    finally:
        task.close()


def test_controls_take_the_picture_the_order_of_words_or_the_task():
    plain = MiniWobTask("click-color")
    try:
        shown = plain.reset("eval", 0)
    finally:
        plain.close()
    for control in ("grey_picture", "shuffled_words", "other_task"):
        task = MiniWobTask("click-color", control=control)
        try:
            found = task.reset("eval", 0)
            assert [item.box for item in found.candidates] == [item.box for item in shown.candidates]
            assert (found.image.min() == found.image.max()) == (control == "grey_picture")
            same_words = sorted(found.instruction.split()) == sorted(shown.instruction.split())
            assert same_words == (control != "other_task")
            assert (found.instruction == shown.instruction) == (control == "grey_picture")
        finally:
            task.close()


def test_the_evaluator_plays_pages_and_reads_its_results(tmp_path: Path):
    suite = tmp_path / "suite.json"
    write_suite_file(suite, [episode(name, layout) for name in ("click-test", "click-color") for layout in (0, 1)])
    summary = Runner(RunConfig(PolicyChoice("expert"), str(suite), tmp_path / "out")).run()
    assert (summary.played, summary.errors) == (4, 0)
    results = RunFolder.read(tmp_path / "out").results
    assert all(result.success.last for result in results)
    assert json.loads((tmp_path / "out/run.json").read_text())["versions"]["playwright"]


def test_demonstrations_are_kept_when_the_page_rewards_them_and_hold_no_text_of_the_page():
    with Demonstrator("click-collapsible") as demonstrator:
        steps = demonstrator.play("train", 0)
    assert steps is not None and len(steps) == 2
    for step in steps:
        ((question, answer),) = step.asked
        assert step.image.shape == (420, 320, 3) and "Section" not in question
        assert answer.startswith("Coordinate: (0.")


def test_what_a_page_could_have_asked_as_well_is_answered_about_its_first_picture():
    with Demonstrator("click-shape", others=4) as demonstrator:
        (step,) = demonstrator.play("train", 1) or ()
        (again,) = demonstrator.play("train", 1) or ()
    assert len(step.asked) == 5 and len(dict(step.asked)) == 5
    assert step.asked == again.asked
