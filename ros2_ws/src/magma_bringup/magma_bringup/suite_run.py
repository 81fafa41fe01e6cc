"""Plays a suite of the evaluator through the robot graph and writes the evaluator's own results.

The folder can be given to `magma-eval report`, `merge` and `compare` like that of an evaluation in one process. A run
that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magma_bringup.step_times import StepTimes
from magma_eval.confidence_intervals import Rate
from magma_eval.episodes import Episode, short_hash
from magma_eval.policies.scripted import SCRIPTED
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import EpisodeResult, Key, Stage, Success
from magma_eval.run.plan import DEFAULT_FACTORY
from magma_eval.run.recorder import Recorder, RunDescription
from magma_eval.suites import select, suite_episodes
from magma_eval.version import code_version, versions
from magma_sim_ros.episode import record_name

if TYPE_CHECKING:
    from magma_bringup.episode_runner import EpisodeRunner, EpisodeRunnerConfig, Seen

NOTE = "played through the robot graph"


def play_suite(node: EpisodeRunner, say: Callable[[str], None]) -> None:
    """Plays every episode of the suite that is not in the folder yet.

    The simulator must write its records into `episodes/` of the same folder.

    Raises:
        GraphError: a part of the graph is missing or does not go on; what was finished is in the results.
        ResultsError: the folder holds another run, or another process writes to it.
        ValueError: unknown suite or task, or an episode that needs options which the simulator node cannot set.
    """
    config = node.config
    folder = Path(config.out)
    episodes = select(suite_episodes(config.suite), tasks=config.suite_tasks, limit=config.suite_limit or None)
    for episode in episodes:
        if episode.options:
            raise ValueError(
                f"{episode.make} needs options that the simulator node cannot set: {dict(episode.options)}"
            )
    node.wait_for_graph(say)
    identity = _identity(config, node.policy, node.running.content)
    with Recorder(folder, "results.jsonl", _description(config, identity, node.running.where)) as recorder:
        there = {result.key for result in recorder.results}
        for number, episode in enumerate(episodes, start=1):
            key = _key(episode, identity)
            if key in there:
                continue
            seen = node.episode_of_suite(episode)
            result = _result(key, episode, seen, folder, config, recorder.training)
            recorder.keep(result)
            verdict = "success" if result.success is not None and result.success.last else "failure"
            shortened = f"  safety stage: {_counted(seen)}" if seen.shortened else ""
            say(f"{number:>4}/{len(episodes)}  {seen.start}  {verdict}  {seen.duration_s:5.1f} s{shortened}")
        node.rest()
        say(_summary(recorder.results, folder))


def _identity(config: EpisodeRunnerConfig, policy: str, content: str) -> dict[str, Any]:
    return {
        "policy": policy,
        "policy_identity": content,
        "clock": "lockstep" if config.clock == "lockstep" else "wall",
        "execute_steps": None,
        "rule": "last",
        "factory": DEFAULT_FACTORY,
        "code": code_version(suite_episodes(config.suite)),
        "played": "graph",
        "latency_ms": config.latency_ms,
    }


def _key(episode: Episode, identity: dict[str, Any]) -> Key:
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


def _description(config: EpisodeRunnerConfig, identity: dict[str, Any], where: str) -> RunDescription:
    return RunDescription(
        identity=identity,
        policy={"given": config.policy, "where": where},
        suite=config.suite,
        rule="last",
        versions=versions(suite_episodes(config.suite)),
        training=config.training,
        known_training="none (scripted)" if identity["policy"] in SCRIPTED else "",
        command=config.command,
    )


def _result(
    key: Key, episode: Episode, seen: Seen, folder: Path, config: EpisodeRunnerConfig, training: str
) -> EpisodeResult:
    record_path = folder / "episodes" / record_name(seen.start.task, seen.start.variant, seen.start.layout)
    flags = EpisodeRecord.read(record_path).success.tolist()
    name = f"episodes/{key.name}.npz"
    record_path.replace(folder / name)
    commanded = EpisodeRecord.read(folder / name).commanded
    ever = any(flags)
    lockstep = config.clock == "lockstep"
    notes = (NOTE, f"safety stage: {_counted(seen)}") if seen.shortened else (NOTE,)
    return EpisodeResult(
        key=key,
        episode=episode,
        status="ok",
        rule="last",
        clock="lockstep" if lockstep else "wall",
        latency_ms=None if lockstep else config.latency_ms,
        training=training,
        settings={name: value for name, value in (("arm", config.arm), ("teleop", config.teleop)) if value},
        corrected_by=tuple(seen.corrected_by),
        success=Success(last=bool(flags) and flags[-1], first=ever, ever=ever),
        first_success_step=flags.index(True) + 1 if ever else None,
        success_steps=sum(flags),
        steps=len(flags),
        max_steps=seen.max_steps,
        instruction=seen.instruction,
        queries=len(seen.times.values("policy")),
        held_steps=int((~commanded).sum()),
        notes=notes,
        record=name,
        stages=_stages(seen.times),
        seconds=round(seen.duration_s, 3),
        host=platform.node(),
        written=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )


def _stages(times: StepTimes) -> dict[str, Stage]:
    return {name.strip(): Stage.of(times.values(name)) for name in times.table()}


def _counted(seen: Seen) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(seen.shortened.items()))


def _summary(results: Iterable[EpisodeResult], folder: Path) -> str:
    by_task: dict[str, list[bool]] = {}
    for result in results:
        if result.success is not None:
            by_task.setdefault(result.key.task, []).append(bool(result.success.last))
    lines = ["", "success at the last step (SimplerEnv's own rule), Wilson 95 % interval"]
    lines += [f"  {task:<32} {Rate(sum(flags), len(flags))}" for task, flags in by_task.items()]
    return "\n".join([*lines, f"results      {folder}  (magma-eval report {folder})"])
