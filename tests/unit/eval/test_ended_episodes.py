"""Episodes that are over before their last step, and checkpoints that a benchmark loads itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from magma_eval import benchmarks as known
from magma_eval.benchmarks import Benchmark
from magma_eval.episodes import Episode
from magma_eval.policies import source
from magma_eval.policies.choice import PolicyChoice
from magma_eval.policies.source import PolicySource
from magma_eval.rollout.loop import rollout
from magma_eval.rollout.settings import RolloutSettings
from magma_eval.run import runner
from magma_eval.run.plan import RunConfig
from magma_eval.run.runner import Runner

from .screen_fakes import Reader, Screen

EPISODE = Episode("screens", "log-in-now", "eval", 0, make="log-in-now", layout=0)


class Ending(Screen):
    """Is over as soon as a word was clicked."""

    def step(self, action, **options):
        observation = super().step(action, **options)
        return SimpleNamespace(**vars(observation), ended=action.word == "in")


@pytest.mark.parametrize("clock", ["lockstep", "realtime"])
def test_nothing_is_asked_or_done_once_an_episode_has_ended(clock):
    latency = 0.0 if clock == "realtime" else None
    played = rollout(Ending("log-in-now"), Reader(), EPISODE, RolloutSettings(clock, latency))
    assert played.record.actions.tolist() == ["", "log", "in"]
    assert played.steps == 3 < played.max_steps and played.success.last is False


@pytest.fixture
def loaded(monkeypatch):
    """A benchmark that loads checkpoints itself; what it was given."""
    choices = []

    def checkpoints(choice):
        choices.append(choice)
        return lambda episode, seed: (episode.task, seed)

    own = Benchmark(("log-in-now",), Screen, checkpoints=checkpoints)
    for module in (known, source, runner):
        monkeypatch.setattr(module, "benchmark_of", lambda task: own if task in own.tasks else None)
    return choices


def test_a_benchmark_makes_the_policies_of_a_checkpoint_once_and_without_a_server(loaded, tmp_path: Path):
    choice = PolicyChoice(f"magma:{tmp_path}")
    policies = PolicySource(choice)
    assert policies.needs_image
    assert [policies.for_episode(EPISODE, "", seed) for seed in (0, 1)] == [("log-in-now", 0), ("log-in-now", 1)]
    assert loaded == [choice]


def test_no_server_is_started_for_it_and_its_files_are_its_identity(loaded, tmp_path: Path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    run = Runner(RunConfig(PolicyChoice(f"magma:{tmp_path}"), "screens", tmp_path / "out"))
    monkeypatch.setattr(RunConfig, "episodes", lambda self: [EPISODE])
    assert run._meet_policy() == PolicyChoice(f"magma:{tmp_path}").identity()
    assert run._start_server() == ("", "")
