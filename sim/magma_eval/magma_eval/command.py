"""`magma-eval`: the command line of the evaluator."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from magma_contracts.files.outputs import check_file, check_folder, explained
from magma_contracts.interruption import ends_on_interrupt
from magma_contracts.text import escaped
from magma_eval.benchmarks import benchmarks
from magma_eval.compare import compare
from magma_eval.compare import text_table as comparison_table
from magma_eval.confidence_intervals import episodes_needed
from magma_eval.episodes import write_suite_file
from magma_eval.policies.choice import PolicyChoice
from magma_eval.pools.worker import find_factory
from magma_eval.questions.report import as_numbers, as_text
from magma_eval.questions.samples import find_samples, read_samples
from magma_eval.questions.summary import summarise_task
from magma_eval.ray_option import RayOption, address_of
from magma_eval.report.clips import choose, film_all
from magma_eval.report.comparison import contests
from magma_eval.report.comparison import text_report as contest_report
from magma_eval.report.numbers import numbers
from magma_eval.report.page import render
from magma_eval.report.text_tables import terminal_width
from magma_eval.results.episode_result import EpisodeResult, ResultsError, SuccessRule
from magma_eval.results.merge import merge
from magma_eval.results.run_folder import CONTRADICTIONS, RunFolder, contradictions_remark, without_repetitions
from magma_eval.rollout.settings import Clock, Compensation
from magma_eval.run.coordinator import RunError, Summary
from magma_eval.run.plan import DEFAULT_FACTORY, RunConfig
from magma_eval.run.runner import Runner
from magma_eval.suites import SUITES, Shard, select, suite_episodes
from magma_eval.summary import summarise
from magma_eval.summary import text_table as rate_table

ALL = tyro.conf.arg(help_behavior_hint="(default: all)")
NONE = tyro.conf.arg(help_behavior_hint="(default: none)")
NEEDED = tyro.conf.arg(help_behavior_hint="(required)")


@dataclass(frozen=True)
class ListCommand:
    """Shows suites, or the episodes of one."""

    suite: str = ""
    """name of a suite or a suite file; empty lists the suites"""
    tasks: Annotated[tuple[str, ...], ALL] = ()
    """only these tasks"""
    variants: Annotated[tuple[str, ...], ALL] = ()
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
    """name of a shipped checkpoint (magma-tiny) or folder of one, with or without magma: before it (starts
    `magma-serve`); ws://host:port of a policy server (token in MAGMA_SERVE_TOKEN);
    openpi://host:port?model=FILE or vla-eval://host:port?model=FILE of one that speaks those protocols, with its model
    file; expert, hold, random, replay:FILE_OR_FOLDER"""
    suite: str
    """name of a suite (`magma-eval list`) or a suite file"""
    out: Path
    """folder for the results"""
    tasks: Annotated[tuple[str, ...], ALL] = ()
    """only these tasks"""
    variants: Annotated[tuple[str, ...], ALL] = ()
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
    latency_jitter_ms: float = 0.0
    """with --clock realtime and --latency-ms: of each answer up to so much more, drawn evenly"""
    lost_answers: float = 0.0
    """with --clock realtime and --latency-ms: share of the answers that never arrive, such as 0.05"""
    compensation: Compensation | None = None
    """of latency, for arms. references: what was commanded since a frame is subtracted from the answer to it, as the
    robot's controller does it. prediction: besides, the policy is given the arm's state foretold for the moment at
    which its answer takes effect, and its answer begins with what is under way. none: neither. Default: in real time
    prediction for policies without a model; references for all others, and on the wall's clock"""
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
    """longest time to build or reset an environment before its process is killed, and to start the policy server"""
    step_timeout_s: float = 120.0
    """longest time for a step, the policy's answer included"""
    environments: int = 4
    """environments that a worker keeps open"""
    image_size: str = ""
    """HEIGHTxWIDTH of the images, such as 480x640, where a suite can; default: the suite's own"""
    task_factory: str = DEFAULT_FACTORY
    """module:function that makes tasks, for simulators of your own"""
    ray: RayOption = None
    """play on a Ray cluster (docs/scale.md), with --workers on all its machines together: its HOST:PORT, or auto where
    RAY_ADDRESS or a node of this machine tells. Without either a cluster of this machine is started for this run"""
    ray_policies: int = 1
    """of a checkpoint: so many servers on the cluster; a worker asks the nearest"""
    ray_policy_gpus: float = 0.0
    """GPUs of each, as Ray counts them: 0.5 puts two on one; 0: they run on cores"""

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
            seeds=_seeds(self.seeds),
            clock=self.clock,
            latencies_ms=tuple(_numbers(self.latency_ms, "latencies")),
            latency_jitter_ms=self.latency_jitter_ms,
            lost_answers=self.lost_answers,
            compensation=self.compensation,
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
            ray=address_of(self.ray),
            ray_policies=self.ray_policies,
            ray_policy_gpus=self.ray_policy_gpus,
        )

    def run(self) -> int:
        command = "magma-eval " + shlex.join(sys.argv[1:])
        summary = Runner(self.config(), command).run()
        return _tell(summary, self.out, command)


@dataclass(frozen=True)
class MergeCommand:
    """Joins shards, or runs split over machines, into one folder. Lines may repeat, but not contradict each other."""

    out: Path
    """folder for all results; may exist already"""
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, NEEDED]
    """folders to join"""

    def run(self) -> int:
        check_folder(self.out, "--out")
        count, duplicates = merge(self.out, self.folders)
        print(f"{count} episodes in {self.out}, {duplicates} repeated lines left out")
        return 0


@dataclass(frozen=True)
class ReportCommand:
    """Prints the rates of runs and writes a page about them, with videos, as one file. Of folders with samples of
    lmms-eval it prints scores with intervals, chance levels and published figures, and writes the numbers."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, NEEDED]
    """folders of runs, or what lmms-eval wrote with --log_samples"""
    out: Path | None = None
    """the page; default: report.html in the first folder. The numbers go to a .json beside it. Of samples: the file of
    numbers; default: questions.json in the first folder"""
    success_rule: SuccessRule | None = None
    """the rule for headlines, plots and videos; default: the first run's own. The tables show all three"""
    failures: int = 8
    """videos of failed episodes; the recorded actions are executed again for them, which needs a device that renders"""
    successes: int = 4
    """videos of successful episodes"""
    embed: bool = True
    """videos inside the page; otherwise beside it"""
    task_factory: str = ""
    """module:function that makes tasks for the videos, where that is not the usual one; nothing is imported because a
    file of results names it"""

    def run(self) -> int:
        if not self.folders:
            raise ValueError("give the folder of at least one run")
        samples = [path for folder in self.folders for path in find_samples(folder)]
        if samples:
            return self._questions(samples)
        runs = [RunFolder.read(folder) for folder in self.folders]
        rule: SuccessRule = self.success_rule or runs[0].run["rule"]
        page = self.out or self.folders[0] / "report.html"
        if page.is_dir():
            raise ValueError(f"--out {page} is a folder; give the name of a page, such as {page / 'report.html'}")
        check_file(page, "--out")
        runs, remarks = without_repetitions(runs)
        remarks += filter(None, map(contradictions_remark, self.folders))
        of_folder = {id(result): run.folder for run in runs for result in run.results}
        everything = [result for run in runs for result in run.results]
        chosen = choose(everything, rule, self.failures, self.successes)
        played = runs[0].run["identity"]["factory"]
        if chosen and not self.task_factory and played not in trusted_factories():
            # A file of results may come from anybody; what it names must not be imported, that is run, for that alone.
            remarks.append(f"no videos: the tasks were made by {played!r}; --task-factory {played} says to trust that")
            chosen = []
        factory = find_factory(self.task_factory or DEFAULT_FACTORY)

        def complain(text: str) -> None:
            print(escaped(f"magma-eval: {text}"), file=sys.stderr)
            remarks.append(text)

        where = page.parent / f"{page.stem}-videos"
        clips = film_all([(of_folder[id(r)], r) for r in chosen], where, rule, factory, complain) if chosen else []
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(render(runs, rule, clips, embed=self.embed, page=page, remarks=remarks), encoding="utf-8")
        page.with_suffix(".json").write_text(json.dumps(numbers(runs, rule), indent=1) + "\n", encoding="utf-8")
        print(rate_table(summarise(everything), terminal_width()))
        print(f"page: {page} ({page.stat().st_size / 1e6:.1f} MB, {len(clips)} videos)")
        return 0

    def _questions(self, samples: list[Path]) -> int:
        first = self.folders[0]
        out = self.out or (first if first.is_dir() else first.parent) / "questions.json"
        check_file(out, "--out")
        summaries = [summarise_task(read_samples(path)) for path in samples]
        summaries.sort(key=lambda one: (one.task, one.model))
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(as_numbers(summaries), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(as_text(summaries, terminal_width()))
        print(f"numbers: {out}")
        return 0


@dataclass(frozen=True)
class CompareCommand:
    """Compares two runs: difference with its interval, McNemar's test, episodes needed to show it. Of more than two,
    every pair with tests adjusted for their number, and time and memory of each."""

    first: Annotated[Path, tyro.conf.Positional]
    second: Annotated[Path, tyro.conf.Positional]
    others: Annotated[tuple[Path, ...], tyro.conf.Positional, NONE] = ()
    success_rule: SuccessRule | None = None
    """default: the first run's own"""
    latency_ms: float | None = None
    """only results at this injected latency, for runs that have several"""

    def run(self) -> int:
        runs = [RunFolder.read(folder) for folder in (self.first, self.second, *self.others)]
        rule: SuccessRule = self.success_rule or runs[0].run["rule"]
        if self.others:
            return self._all(runs, rule)
        sides = [self._chosen(run) for run in runs]
        names = [
            f"{folder} ({run.run['identity']['policy']}, training: {run.run['training']}, content {run.content})"
            for folder, run in zip((self.first, self.second), runs, strict=True)
        ]
        print(comparison_table(compare(sides[0], sides[1], rule), names[0], names[1], terminal_width()))
        return 0

    def _chosen(self, run: RunFolder) -> list[EpisodeResult]:
        """Results at the latency asked for, and those on clocks that inject none."""
        return [r for r in run.results if self.latency_ms is None or r.latency_ms in (None, self.latency_ms)]

    def _all(self, runs: Sequence[RunFolder], rule: SuccessRule) -> int:
        chosen = [replace(run, results=self._chosen(run)) for run in runs]
        found = contests(without_repetitions(chosen)[0], rule)
        if not found:
            raise ResultsError("no two of these runs played the same suite on the same clock")
        print(contest_report(found, terminal_width()))
        return 0


@dataclass(frozen=True)
class PowerCommand:
    """How many episodes would show that two success rates differ."""

    first: Annotated[float, tyro.conf.Positional]
    """a rate, 0 … 1"""
    second: Annotated[float, tyro.conf.Positional]
    power: float = 0.8
    """chance of finding the difference"""
    level: float = 0.05
    """chance of finding one where there is none"""

    def run(self) -> int:
        count = episodes_needed(self.first, self.second, power=self.power, level=self.level)
        print(
            f"{count} episodes per policy show {self.first:.1%} against {self.second:.1%} with {self.power:.0%} power"
        )
        return 0


def trusted_factories() -> tuple[str, ...]:
    """Names under which results know the tasks of installed benchmarks."""
    return "", DEFAULT_FACTORY, *(name for benchmark in benchmarks() for name in benchmark.factories)


def _tell(summary: Summary, out: Path, command: str) -> int:
    """How a run ended, what it has found, and what can be done next; the exit status."""
    if summary.played or summary.resumed or summary.errors:
        print(rate_table(summarise(RunFolder.read(out).results), terminal_width()) + "\n")
    print(f"{summary.played} episodes played, {summary.resumed} were there, {summary.errors} errors; results in {out}")
    if summary.contradictions:
        print(
            f"{summary.contradictions} episodes were played twice and ended differently, so they are not reproducible: "
            f"{out / CONTRADICTIONS}"
        )
    if summary.interrupted:
        print(f"{summary.left} episodes are left; to go on: {command}")
        return 130
    print(f"one page with videos: {shlex.join(['magma-eval', 'report', str(out)])}")
    return 1 if summary.errors or summary.contradictions else 0


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    height, _, width = text.partition("x")
    if not height.isdecimal() or not width.isdecimal():
        raise ValueError(f"an image's size is HEIGHTxWIDTH, such as 480x640, got {text!r}")
    return int(height), int(width)


def _seeds(text: str) -> tuple[int, ...]:
    numbers = _numbers(text, "seeds")
    if not all(number.is_integer() for number in numbers):
        raise ValueError(f"seeds are whole numbers with commas between, got {text!r}")
    return tuple(int(number) for number in numbers)


def _numbers(text: str, what: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ValueError(f"{what} are numbers with commas between, got {text!r}") from error


def main() -> None:
    """Command line entry point."""
    commands = {
        "list": ListCommand,
        "run": RunCommand,
        "merge": MergeCommand,
        "report": ReportCommand,
        "compare": CompareCommand,
        "power": PowerCommand,
    }
    command = tyro.extras.subcommand_cli_from_dict(commands, prog="magma-eval", description=__doc__)
    try:
        with ends_on_interrupt("magma-eval"):
            sys.exit(command.run())
    except BrokenPipeError:
        sys.exit(0)
    except (ValueError, OSError, ResultsError, RunError) as error:
        sys.exit(escaped(f"magma-eval: {explained(error)}"))


if __name__ == "__main__":
    main()
