"""The loop, the clocks, the records, the replay and the films know no kind of action: here words on a screen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from magma_eval.episodes import Episode
from magma_eval.policies.replay import ReplayPolicy
from magma_eval.report.clips import describe, film
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import EpisodeResult, Key, ResultsError, Success
from magma_eval.rollout.loop import rollout
from magma_eval.rollout.settings import RolloutSettings

from .screen_fakes import CLICKS, Reader, Screen

EPISODE = Episode("screens", "log-in-now", "eval", 0, make="log-in-now", layout=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (RolloutSettings(), ["", "log", "in", "now"]),
        (RolloutSettings(execute_steps=2), ["", "log", "in", "now"]),
        (RolloutSettings("realtime", 0.0), ["", "log", "in", "now"]),
        (RolloutSettings("realtime", 1000.0), ["", "", "log", "in"]),
    ],
)
def test_words_are_clicked_under_every_clock(settings: RolloutSettings, words: list[str]) -> None:
    played = rollout(Screen("log-in-now"), Reader(), EPISODE, settings)
    assert played.record.actions.tolist() == words
    assert played.rejected_actions == 1 and played.held_steps == words.count("")
    assert played.success.last is ("now" in words) and played.stages["policy/reading"].count == played.queries


def test_a_record_is_read_replayed_and_filmed_by_its_own_type_and_refused_by_another(tmp_path: Path) -> None:
    played = rollout(Screen("log-in-now"), Reader(), EPISODE, RolloutSettings())
    played.record.write(tmp_path / "a.npz")
    record = EpisodeRecord.read(tmp_path / "a.npz", CLICKS)
    with pytest.raises(ResultsError, match=r"actions must be finite float64 of shape \(T, 7\)"):
        EpisodeRecord.read(tmp_path / "a.npz")
    again = rollout(Screen("log-in-now"), ReplayPolicy(record, action_type=CLICKS), EPISODE, RolloutSettings())
    assert np.array_equal(again.record.actions, played.record.actions) and again.success == played.success
    assert describe(record, 1, CLICKS) == "clicks log"
    assert describe(record, 0, CLICKS) == "no command: the policy is late"
    key = Key("screens", "log-in-now", "eval", 0, 0, "reader", "c", "code")
    result = EpisodeResult(
        key, EPISODE, "ok", "last", "lockstep", None, "none (scripted)", success=Success(True, True, True), max_steps=4
    )
    assert film(Screen("log-in-now"), result, record, tmp_path / "a.mp4", "last").faithful
