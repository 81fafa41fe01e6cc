"""Plays episodes of the evaluator through the robot graph and keeps its results: a suite's, or those of one task.

The folder can be given to `magma-eval report`, `merge` and `compare` like that of an evaluation in one process. A run
that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import datetime
import platform
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from magma_bringup.episodes.results import line, policy_text, success_rule, summary
from magma_eval.episodes import Episode, Variant, short_hash
from magma_eval.policies.scripted import SCRIPTED
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import EpisodeResult, Key, Stage, Success
from magma_eval.run.plan import DEFAULT_FACTORY
from magma_eval.run.recorder import Recorder, RunDescription
from magma_eval.suites import one_task, select, suite_episodes
from magma_eval.version import code_version, versions
from magma_sim_ros.episode import record_name

if TYPE_CHECKING:
    from magma_bringup.episode_runner import EpisodeRunner, EpisodeRunnerConfig, Seen

NOTE = "played through the robot graph"
USUAL = {"arm": "sim_delta", "teleop": "none", "control": "none"}
"""settings that need not be told apart from"""


@dataclass(frozen=True)
class _Run:
    """What all episodes of a run share."""

    config: EpisodeRunnerConfig
    folder: Path
    identity: Mapping[str, Any]
    training: str


def planned(config: EpisodeRunnerConfig) -> list[Episode]:
    """The episodes that the node's parameters ask for.

    Raises:
        ValueError: unknown suite or task, no such layouts, or an episode that needs options which the simulator node
            cannot set.
    """
    if not config.suite:
        return one_task(config.task, cast("Variant", config.variant), config.first_layout, config.episodes)
    episodes = select(suite_episodes(config.suite), tasks=config.suite_tasks, limit=config.suite_limit or None)
    for episode in episodes:
        if episode.options:
            raise ValueError(
                f"{episode.make} needs options that the simulator node cannot set: {dict(episode.options)}"
            )
    return episodes


class EpisodesRun:
    """The episodes that a node plays, and their results.

    Args:
        node: of the graph.
    """

    def __init__(self, node: EpisodeRunner) -> None:
        self._node = node
        self._commands: Counter[str] = Counter()
        self._results: list[EpisodeResult] = []

    def play(self, say: Callable[[str], None]) -> None:
        """Plays every episode that is not in the folder yet, and says how each went.

        Where the simulator writes its records into `episodes/` of the same folder, the results refer to them.

        Raises:
            GraphError: a part of the graph is missing or does not go on; what was finished is in the results.
            ResultsError: the folder holds another run, or another process writes to it.
            ValueError: see `planned`.
        """
        node, config, folder = self._node, self._node.config, Path(self._node.config.out)
        episodes = planned(config)
        folder.mkdir(parents=True, exist_ok=True)
        node.wait_for_graph(say)
        identity = _identity(config, episodes, node.policy, node.running.content)
        description = _description(config, episodes, identity, node.running.where)
        with Recorder(folder, "results.jsonl", description) as recorder:
            run = _Run(config, folder, identity, recorder.training)
            wanted = {_key(episode, identity) for episode in episodes}
            self._results = [result for result in recorder.results if result.key in wanted]
            there = {result.key for result in self._results}
            if there:
                say(f"{len(there)} of {len(episodes)} episodes were there already")
            for number, episode in enumerate(episodes, start=1):
                key = _key(episode, identity)
                if key in there:
                    continue
                seen = node.episode_of_suite(episode)
                self._commands.update(seen.corrected_by)
                if config.videos and seen.frames:
                    node.film(folder / film_name(episode, success=bool(seen.status.success)), seen, say)
                result = _result(run, key, episode, seen)
                recorder.keep(result)
                self._results.append(result)
                shortened = f"  safety stage: {_counted(seen)}" if seen.shortened else ""
                say(line(result, number, len(episodes)) + shortened)
            node.rest()

    def summary(self) -> str:
        """The table about all of them, "" when there is no result."""
        if not self._results:
            return ""
        config = self._node.config
        return summary(
            self._results,
            self._node.times,
            Path(config.out),
            policy=policy_text(self._results[0], config.policy, self._node.running.where),
            rule=success_rule(config.success_hold_steps),
            commands=self._commands,
            videos=config.videos,
        )


def film_name(episode: Episode, *, success: bool) -> str:
    """The file of an episode's film, in the run's folder."""
    verdict = "success" if success else "failure"
    return f"{episode.make}-{episode.reset_variant}-{episode.layout:03d}-{verdict}.mp4"


def _identity(config: EpisodeRunnerConfig, episodes: list[Episode], policy: str, content: str) -> dict[str, Any]:
    chosen = {name: getattr(config, name) for name in USUAL}
    unusual = {name: value for name, value in chosen.items() if value not in ("", USUAL[name])}
    if config.success_hold_steps:
        unusual["success_hold_steps"] = config.success_hold_steps
    return {
        "policy": policy,
        "policy_identity": content,
        "clock": "lockstep" if config.clock == "lockstep" else "wall",
        "execute_steps": None,
        "rule": "last",
        "factory": DEFAULT_FACTORY,
        "code": code_version(episodes),
        "played": "graph",
        "latency_ms": config.latency_ms,
        **unusual,
    }


def _key(episode: Episode, identity: Mapping[str, Any]) -> Key:
    return Key(
        suite=episode.suite,
        task=episode.task,
        variant=episode.variant,
        episode_id=episode.episode_id,
        seed=0,
        policy=identity["policy"],
        configuration=short_hash({**identity, "episode": episode.as_json()}),
        code=identity["code"],
        policy_identity=identity["policy_identity"],
    )


def _description(
    config: EpisodeRunnerConfig, episodes: list[Episode], identity: Mapping[str, Any], where: str
) -> RunDescription:
    return RunDescription(
        identity=identity,
        policy={"given": config.policy, "where": where},
        suite=config.suite or episodes[0].suite,
        rule="last",
        versions=versions(episodes),
        training=config.training,
        known_training="none (scripted)" if identity["policy"] in SCRIPTED else "",
        command=config.command,
    )


def _settings(config: EpisodeRunnerConfig) -> dict[str, str]:
    """What was chosen, in words; a control experiment and an early end only where there are."""
    chosen = {name: getattr(config, name) for name in USUAL}
    told = {name: value for name, value in chosen.items() if value and (name, value) != ("control", USUAL["control"])}
    if config.success_hold_steps:
        told["ends when the goal held"] = f"{config.success_hold_steps} steps"
    return told


def _result(run: _Run, key: Key, episode: Episode, seen: Seen) -> EpisodeResult:
    config = run.config
    lockstep = config.clock == "lockstep"
    notes = (NOTE, f"safety stage: {_counted(seen)}") if seen.shortened else (NOTE,)
    return EpisodeResult(
        key=key,
        episode=episode,
        status="ok",
        rule="last",
        clock="lockstep" if lockstep else "wall",
        latency_ms=None if lockstep else config.latency_ms,
        training=run.training,
        settings=_settings(config),
        corrected_by=tuple(seen.corrected_by),
        max_steps=seen.max_steps,
        instruction=seen.instruction,
        queries=len(seen.times.values("policy")),
        notes=notes,
        stages={name.strip(): Stage.of(seen.times.values(name)) for name in seen.times.table()},
        seconds=round(seen.duration_s, 3),
        host=platform.node(),
        written=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **_outcome(run.folder, key, seen),
    )


def _outcome(folder: Path, key: Key, seen: Seen) -> dict[str, Any]:
    """What came of it: from the simulator's record, which becomes the result's, or else from what it told."""
    source = folder / "episodes" / record_name(seen.start.task, seen.start.variant, seen.start.layout)
    if not source.exists():
        first, last = seen.first_success_step, bool(seen.status.success)
        ever = last or first is not None
        return {
            "success": Success(last=last, first=ever, ever=ever),
            "first_success_step": first,
            "steps": int(seen.status.step),
        }
    record, name = EpisodeRecord.read(source), f"episodes/{key.name}.npz"
    source.replace(folder / name)
    flags = record.success.tolist()
    ever = any(flags)
    return {
        "success": Success(last=bool(flags) and flags[-1], first=ever, ever=ever),
        "first_success_step": flags.index(True) + 1 if ever else None,
        "success_steps": sum(flags),
        "steps": len(flags),
        "held_steps": int((~record.commanded).sum()),
        "record": name,
    }


def _counted(seen: Seen) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(seen.shortened.items()))
