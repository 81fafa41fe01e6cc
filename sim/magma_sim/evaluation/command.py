"""`magma-eval`: the command line of the evaluator."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from magma_sim.evaluation.episodes import write_suite_file
from magma_sim.evaluation.playing import Clock
from magma_sim.evaluation.policies import PolicyChoice
from magma_sim.evaluation.results import ResultsError, SuccessRule
from magma_sim.evaluation.runner import DEFAULT_FACTORY, RunConfig, RunError, Runner, Summary
from magma_sim.evaluation.suites import SUITES, Shard, select, suite_episodes


@dataclass(frozen=True)
class ListCommand:
    """Shows suites, or the episodes of one."""

    suite: str = ""
    """name of a suite or a suite file; empty lists the suites"""
    tasks: tuple[str, ...] = ()
    """only these tasks"""
    variants: tuple[str, ...] = ()
    """only these variants"""
    json: bool = False
    """every episode as a line of JSON"""
    out: Path | None = None
    """write the episodes to this file, which `run --suite` plays"""

    def run(self) -> int:
        if not self.suite:
            for suite in SUITES.values():
                print(f"{suite.name:20s} {len(suite.make()):5d} episodes  {suite.title}")
            return 0
        episodes = select(suite_episodes(self.suite), tasks=self.tasks, variants=self.variants)
        if self.out is not None:
            write_suite_file(self.out, episodes)
            print(f"{len(episodes)} episodes written to {self.out}")
        elif self.json:
            for episode in episodes:
                print(json.dumps(episode.as_json(), ensure_ascii=False))
        else:
            counts = Counter((episode.task, episode.variant, episode.factor) for episode in episodes)
            for (task, variant, factor), count in counts.items():
                print(f"{task:46s} {variant:60s} {factor:13s} {count:4d}")
            tasks = Counter(episode.task for episode in episodes)
            for task, count in tasks.items():
                cameras = sum(episode.factor == "camera" for episode in episodes if episode.task == task)
                print(f"{task:46s} {count:5d} episodes" + (f", {count - cameras} without cameras" if cameras else ""))
            print(f"{self.suite}: {len(episodes)} episodes")
        return 0


@dataclass(frozen=True)
class RunCommand:
    """Plays a suite, or what is missing of it. Give the same command again to go on after an interruption."""

    policy: str
    """expert, hold, random, replay:FILE_OR_FOLDER, magma:CHECKPOINT (starts `magma-serve`), or ws://host:port (token in
    MAGMA_SERVE_TOKEN)"""
    suite: str
    """name of a suite (`magma-eval list`) or a suite file"""
    out: Path
    """folder for the results"""
    tasks: tuple[str, ...] = ()
    """only these tasks"""
    variants: tuple[str, ...] = ()
    """only these variants"""
    limit: int | None = None
    """only the first so many episodes of each task and variant"""
    seeds: str = "0"
    """numbers, such as 0,1,2: each episode is played once per seed. Only random policies differ between seeds"""
    clock: Clock = "lockstep"
    """lockstep: the world waits for the policy. realtime: it does not, in simulated time, so that a slow simulator does
    no harm. wall: it does not, on the clock on the wall"""
    latency_ms: str = ""
    """with --clock realtime: numbers such as 0,50,100,200,400,800. Every answer takes exactly so long, and the run is
    repeated for each. Empty: as long as it really took. With --clock wall it is added to that"""
    execute_steps: int | None = None
    """actions of a chunk executed before the policy is asked again; default 1 in lock-step, else all"""
    success_rule: SuccessRule = "last"
    """last: the goal holds at the last step (SimplerEnv's own). first: the episode ends when it holds. ever: it held at
    some step. All three are stored; under `first` the other two are unknown for the episodes that it ended"""
    training_label: str = ""
    """how the policy was trained (in-domain simulation, zero-shot …); default: what its card says"""
    policy_name: str = ""
    """name in the results; default: from --policy"""
    device: str = "auto"
    """for magma: — auto, cpu, cuda"""
    policy_threads: int = 1
    """for magma: — CPU threads; 0 is torch's own choice"""
    policy_deadline_s: float = 60.0
    """longest wait for an answer of the policy"""
    workers: int = 1
    """simulator processes"""
    shard: str = "0/1"
    """i/n: every n-th part of the suite, for several machines; `magma-eval merge` joins them"""
    attempts: int = 3
    """how often an episode is tried when the simulator crashes or hangs; then it is recorded as an error"""
    retry_errors: bool = False
    """play again what an earlier run recorded as an error"""
    start_timeout_s: float = 600.0
    """longest time to build or reset an environment before its process is killed"""
    step_timeout_s: float = 120.0
    """longest time for a step, the policy's answer included"""
    environments: int = 4
    """environments that a worker keeps open"""
    image_size: str = ""
    """HEIGHTxWIDTH of the pictures, such as 480x640, where a suite can (simpler-bridge); default: the suite's own"""
    task_factory: str = DEFAULT_FACTORY
    """module:function that makes tasks, for simulators of your own"""

    def config(self) -> RunConfig:
        """The run, checked; ValueError says what is wrong."""
        choice = PolicyChoice(self.policy, self.policy_name, self.device, self.policy_threads, self.policy_deadline_s)
        return RunConfig(
            policy=choice,
            suite=self.suite,
            out=self.out,
            tasks=self.tasks,
            variants=self.variants,
            limit=self.limit,
            seeds=tuple(int(number) for number in _numbers(self.seeds, "seeds")),
            clock=self.clock,
            latencies_ms=tuple(_numbers(self.latency_ms, "latencies")),
            execute_steps=self.execute_steps,
            rule=self.success_rule,
            training=self.training_label,
            workers=self.workers,
            shard=Shard.parse(self.shard),
            attempts=self.attempts,
            retry_errors=self.retry_errors,
            start_timeout_s=self.start_timeout_s,
            step_timeout_s=self.step_timeout_s,
            environments=self.environments,
            image_size=_size(self.image_size),
            factory=self.task_factory,
        )

    def run(self) -> int:
        command = "magma-eval " + shlex.join(sys.argv[1:])
        summary = Runner(self.config(), command).run()
        return _tell(summary, self.out, command)


def _tell(summary: Summary, out: Path, command: str) -> int:
    print(f"{summary.played} episodes played, {summary.resumed} were there, {summary.errors} errors; results in {out}")
    if summary.interrupted:
        print(f"{summary.left} episodes are left; to go on: {command}")
        return 130
    return 1 if summary.errors else 0


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    height, _, width = text.partition("x")
    if not height.isdecimal() or not width.isdecimal():
        raise ValueError(f"a picture's size is HEIGHTxWIDTH, such as 480x640, got {text!r}")
    return int(height), int(width)


def _numbers(text: str, what: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ValueError(f"{what} are numbers with commas between, got {text!r}") from error


def main() -> None:
    """Command line entry point."""
    import tyro

    commands = {"list": ListCommand, "run": RunCommand}
    command = tyro.extras.subcommand_cli_from_dict(commands, prog="magma-eval", description=__doc__)
    try:
        sys.exit(command.run())
    except (ValueError, ResultsError, RunError) as error:
        sys.exit(f"magma-eval: {error}")
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
