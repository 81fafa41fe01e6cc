"""Plays a run: worker processes, a watchdog over them, results as they come, resumption of what is there already."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import platform
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magma_sim.evaluation import wire
from magma_sim.evaluation.episodes import Episode, short_hash
from magma_sim.evaluation.playing import Clock, Manner
from magma_sim.evaluation.policies import PolicyChoice, PolicyFailedError, served_identity, start_server
from magma_sim.evaluation.results import (
    RULE_TEXT,
    RUN_FILE,
    RUN_FORMAT,
    SUCCESS_RULES,
    EpisodeResult,
    Key,
    ResultsError,
    ResultStore,
    Stage,
    Success,
    SuccessRule,
    read_run,
    write_json,
)
from magma_sim.evaluation.scheduler import Job, Scheduler
from magma_sim.evaluation.suites import Shard, select, suite_episodes
from magma_sim.evaluation.version import code_version, versions
from magma_sim.statistics import Rate

_POLL_S = 0.25
_STOPPING_S = 5.0
WAITING = {
    "starting": "starting the simulator",
    "making the environment": "building the world",
    "asking for the policy": "connecting to the policy",
}
"""What a worker does before its first step, in words for people."""
DEFAULT_FACTORY = "magma_sim:make_task"


class RunError(RuntimeError):
    """The run cannot go on; the message says why and what to do. What was finished stays."""


@dataclass(frozen=True)
class RunConfig:
    """What a run plays and how. Its folder can be given again to go on with it.

    Raises:
        ValueError: a value that makes no sense, or values that do not go together.
    """

    policy: PolicyChoice
    suite: str
    out: Path
    tasks: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    limit: int | None = None
    seeds: tuple[int, ...] = (0,)
    clock: Clock = "lockstep"
    latencies_ms: tuple[float, ...] = ()
    execute_steps: int | None = None
    rule: SuccessRule = "last"
    training: str = ""
    workers: int = 1
    shard: Shard = field(default_factory=Shard)
    attempts: int = 3
    retry_errors: bool = False
    start_timeout_s: float = 600.0
    step_timeout_s: float = 120.0
    environments: int = 4
    image_size: tuple[int, int] | None = None
    factory: str = DEFAULT_FACTORY

    def __post_init__(self) -> None:
        if self.workers < 1 or self.attempts < 1 or self.environments < 1:
            raise ValueError("workers, attempts and environments are at least 1")
        if self.rule not in SUCCESS_RULES:
            raise ValueError(f"unknown success rule {self.rule!r}; it is one of {', '.join(RULE_TEXT)}")
        if self.image_size is not None and min(self.image_size) < 1:
            raise ValueError(f"a picture has at least one row and one column, got {self.image_size}")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds are different numbers from 0 on, got {self.seeds}")
        if self.start_timeout_s <= 0 or self.step_timeout_s <= 0:
            raise ValueError("timeouts are above 0 s")
        if self.policy.remote and self.step_timeout_s <= self.policy.deadline_s:
            raise ValueError(
                f"the step timeout ({self.step_timeout_s} s) must be above the policy's deadline "
                f"({self.policy.deadline_s} s), or a slow policy would look like a hung simulator"
            )
        if len(set(self.latencies_ms)) != len(self.latencies_ms):
            raise ValueError(f"a latency is given twice: {self.latencies_ms}")
        for manner in self.manners:
            del manner

    @property
    def manners(self) -> list[Manner]:
        """One per latency."""
        latencies: tuple[float | None, ...] = self.latencies_ms or (None,)
        return [Manner(self.clock, latency, self.execute_steps, self.rule) for latency in latencies]

    @property
    def results_name(self) -> str:
        """The file of lines that this run, or this shard of it, writes."""
        return "results.jsonl" if self.shard.count == 1 else f"results-{self.shard.index}-of-{self.shard.count}.jsonl"

    def identity(self, policy: str) -> dict[str, Any]:
        """What all results in one folder share; `policy` is the content of the policy."""
        return {
            "policy": self.policy.label,
            "policy_identity": policy,
            "clock": self.clock,
            "execute_steps": self.execute_steps,
            "rule": self.rule,
            "factory": self.factory,
            "code": code_version(),
        }

    @property
    def settings(self) -> dict[str, str]:
        """What is not left to the suite and the policy, in words."""
        chosen: dict[str, str] = {}
        if self.execute_steps is not None:
            chosen["actions per answer"] = str(self.execute_steps)
        if self.image_size is not None:
            chosen["picture"] = "{}x{}".format(*self.image_size)
        return chosen

    def episodes(self) -> list[Episode]:
        """The episodes of all shards in the order of the suite; ValueError when there are none."""
        episodes = select(suite_episodes(self.suite), tasks=self.tasks, variants=self.variants, limit=self.limit)
        if self.image_size is not None:
            size = {"image_size": list(self.image_size)}
            episodes = [dataclasses.replace(episode, options={**episode.options, **size}) for episode in episodes]
        return episodes

    def jobs(self, policy: str) -> list[Job]:
        """Every episode of this shard in every manner; `policy` is the content of the policy."""
        identity, episodes = self.identity(policy), self.episodes()
        jobs = []
        for manner in self.manners:
            for seed in self.seeds:
                for episode in self.shard.of(episodes):
                    what = {**identity, "episode": episode.as_json(), "manner": dataclasses.asdict(manner)}
                    key = Key(
                        suite=episode.suite,
                        task=episode.task,
                        variant=episode.variant,
                        episode_id=episode.episode_id,
                        seed=seed,
                        policy=self.policy.label,
                        configuration=short_hash(what),
                        code=identity["code"],
                        policy_identity=policy,
                    )
                    jobs.append(Job(key, episode, manner, seed))
        return jobs


@dataclass
class Summary:
    """How a run ended."""

    played: int = 0
    """episodes finished now"""
    resumed: int = 0
    """episodes that were there already"""
    errors: int = 0
    left: int = 0
    """episodes not played because of an interruption"""
    interrupted: bool = False


class _Process:
    """One worker process as the evaluator sees it."""

    def __init__(self, number: int, config: RunConfig, url: str, token: str, identity: str) -> None:
        self.number = number
        from_evaluator, self._write = os.pipe()
        self.read, to_evaluator = os.pipe()
        for descriptor in (self._write, self.read):
            os.set_inheritable(descriptor, False)
        command = [sys.executable, "-m", "magma_sim.evaluation.worker"]
        command += [str(from_evaluator), str(to_evaluator), str(os.getpid())]
        self.log = config.out / "logs" / f"worker-{config.shard.index}-{number}.log"
        # Threads beyond the cores only wait for each other. Mesa's software renderer gets each worker's share of them.
        share = max(1, len(os.sched_getaffinity(0)) // config.workers)
        environment = {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": str(share), **os.environ}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(from_evaluator, to_evaluator),
                env=environment,
            )
        os.close(from_evaluator)
        os.close(to_evaluator)
        self._reader = wire.LineReader(self.read)
        self.ready = False
        self.doing = "starting"
        self.deadline_s = time.monotonic() + config.start_timeout_s
        self._say(
            "setup",
            policy=dataclasses.asdict(config.policy),
            url=url,
            token=token,
            identity=identity,
            factory=config.factory,
            environments=config.environments,
            folder=str(config.out.resolve()),
        )

    @property
    def ended(self) -> bool:
        return self._reader.ended

    def messages(self) -> list[wire.Message]:
        return self._reader.read()

    def play(self, job: Job, record: str) -> None:
        self._say(
            "episode",
            episode=job.episode.as_json(),
            manner=dataclasses.asdict(job.manner),
            seed=job.seed,
            record=record,
        )

    def stop(self) -> None:
        self._say("stop")

    def kill(self) -> None:
        """Ends the process at once and releases what belongs to it."""
        self.process.kill()
        # A process caught inside a graphics driver dies when the driver lets go of it; nobody waits for that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOPPING_S)
        for descriptor in (self._write, self.read):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def last_words(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return " | ".join(lines[-3:])[-600:]
        return ""

    def _say(self, kind: str, **content: Any) -> None:
        # A worker that is gone shows itself by the end of its pipe.
        with contextlib.suppress(BrokenPipeError):
            wire.send(self._write, kind, **content)


class Runner:
    """One run of the evaluator.

    Args:
        config: what to play.
        command: the command line, kept with the results.
        show: called with a line of progress for people.
    """

    def __init__(self, config: RunConfig, command: str = "") -> None:
        self._config, self._command = config, command
        self._workers: dict[int, _Process] = {}
        self._selector = selectors.DefaultSelector()
        self._interrupts = 0
        self._set_up_failures: Counter[str] = Counter()
        self._working_environments: set[str] = set()
        self._server: Any = None
        self._identity = ""
        self._claimed = False
        self._waiting_for = ""
        self._summary = Summary()

    def run(self) -> Summary:
        """Plays what is missing. Ctrl-C once lets the running episodes end, twice stops at once.

        Raises:
            RunError: it cannot go on.
            ResultsError: the folder holds something else, or another process writes to it.
            ValueError: unknown suite, task or variant.
        """
        config = self._config
        config.episodes()  # a suite that is not there is told before a policy is loaded for it
        if config.out.exists() and not config.out.is_dir():
            raise RunError(f"--out {config.out} is a file; give a folder for the results")
        for name in ("episodes", "logs"):
            (config.out / name).mkdir(parents=True, exist_ok=True)
        try:
            # Which policy it is, its server knows best; that decides what is there already.
            self._identity = self._meet_policy()
            jobs = config.jobs(self._identity)
            self._check_folder()
            with ResultStore(config.out / config.results_name) as store, self._signals():
                there = {r.key for r in store.results if r.status == "ok" or not config.retry_errors}
                missing = [job for job in jobs if job.key not in there]
                self._summary.resumed = len(jobs) - len(missing)
                self._scheduler = Scheduler(missing, config.attempts)
                try:
                    with self._progress(jobs, store) as bar:
                        self._loop(store, bar)
                finally:
                    self._end_workers()
        finally:
            if self._server is not None:
                self._server.close()
        self._summary.left = self._scheduler.waiting
        self._summary.interrupted = self._interrupts > 0 and self._summary.left > 0
        return self._summary

    # Set-up.

    def _check_folder(self) -> dict[str, Any]:
        """What run.json holds from now on; ResultsError when the folder is of another run. Nothing is written: a run
        that fails before its first result claims no folder."""
        config = self._config
        path = config.out / RUN_FILE
        identity = config.identity(self._identity)
        content: dict[str, Any] = {
            "format": RUN_FORMAT,
            "identity": identity,
            "policy": {"given": config.policy.text, "where": config.policy.where, "device": config.policy.device},
            "suite": config.suite,
            "training": config.training or config.policy.training() or "not stated",
            "rule": config.rule,
            "commands": [],
            "versions": versions(),
            "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        }
        if path.exists():
            before = read_run(config.out)
            different = {
                name: (before["identity"].get(name), value)
                for name, value in identity.items()
                if before["identity"].get(name) != value
            }
            if different:
                what = "; ".join(f"{name} was {old!r} and is {new!r}" for name, (old, new) in different.items())
                raise ResultsError(f"{config.out} holds results of another run: {what}. Choose another --out")
            if config.training and config.training != before["training"]:
                raise ResultsError(
                    f"{config.out} says of the policy's training {before['training']!r}, not {config.training!r}. "
                    "Choose another --out"
                )
            content = before
        if self._command and self._command not in content["commands"]:
            content["commands"].append(self._command)
        self._training = content["training"]
        return content

    def _store(self, store: ResultStore, result: EpisodeResult) -> None:
        """Keeps a result; the first one says whose folder it is. Other shards may have begun meanwhile."""
        if not self._claimed:
            write_json(self._config.out / RUN_FILE, self._check_folder())
            self._claimed = True
        store.append(result)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def interrupted(number: int, frame: object) -> None:
            del number, frame
            self._interrupts += 1

        before = {}
        with contextlib.suppress(ValueError):  # only the main thread may; elsewhere the caller handles them
            before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _progress(self, jobs: list[Job], store: ResultStore) -> Iterator[Any]:
        from tqdm import tqdm

        mine = {job.key for job in jobs}
        self._rates: dict[bool, int] = Counter(
            bool(r.success.under(self._config.rule)) for r in store.results if r.key in mine and r.success is not None
        )
        total = len(jobs)
        with tqdm(total=total, initial=self._summary.resumed, unit="episode", file=sys.stderr, mininterval=1.0) as bar:
            yield bar

    def _meet_policy(self) -> str:
        """The content of the policy; asks its server, before simulators are built for it."""
        policy = self._config.policy
        if not policy.remote:
            return policy.identity()
        url, token = self._start_server()
        if policy.kind != "magma":
            self._say(f"connecting to {url} …")
        try:
            return served_identity(policy, url, token, min(10.0, policy.deadline_s))
        except PolicyFailedError as error:
            raise RunError(str(error)) from error

    def _start_server(self) -> tuple[str, str]:
        """URL and token of the policy's server, which is started where there is none."""
        policy = self._config.policy
        if policy.kind in ("ws", "wss"):
            return policy.text, policy.token
        if policy.kind != "magma":
            return "", ""
        if self._server is not None and self._server.process.poll() is not None:
            self._server.close()
            self._server = None
        if self._server is None:
            log = self._config.out / "logs" / "policy-server.log"
            self._say(f"starting the policy {policy.label} (its output: {log}) …")
            began_s = time.monotonic()
            try:
                self._server = start_server(policy, log, self._config.start_timeout_s)
            except (PolicyFailedError, OSError, ValueError) as error:
                raise RunError(f"the policy server did not start: {error}") from error
            self._say(f"policy {policy.label} is ready after {time.monotonic() - began_s:.0f} s")
        return self._server.url, self._server.token

    # The loop.

    def _loop(self, store: ResultStore, bar: Any) -> None:
        told = False
        while True:
            if self._interrupts > 1:
                return
            if self._interrupts:
                if not told:
                    bar.write("stopping after the running episodes; once more to stop now", file=sys.stderr)
                    told = True
                if not self._scheduler.running:
                    return
            elif self._scheduler.finished:
                return
            else:
                self._fill()
            self._show_waiting(bar)
            for key, _ in self._selector.select(_POLL_S):
                worker = key.data
                if self._workers.get(worker.number) is worker:
                    self._listen(worker, store, bar)
            self._watch(store, bar)

    def _show_waiting(self, bar: Any) -> None:
        """Until the first episode has ended: what the workers are doing, while the bar shows the time that passes."""
        if self._summary.played + self._summary.errors:
            return
        doing = {WAITING.get(worker.doing, "first episodes") for worker in self._workers.values()}
        text = " and ".join(sorted(doing))
        if text != self._waiting_for:
            self._waiting_for = text
            bar.set_description_str(text)
        elif sys.stderr.isatty():
            bar.refresh()

    def _say(self, text: str) -> None:
        """A line above the progress bar."""
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)

    def _fill(self) -> None:
        wanted = min(self._config.workers, self._scheduler.waiting + len(self._scheduler.running))
        for number in range(self._config.workers):
            if number not in self._workers and len(self._workers) < wanted:
                self._start_worker(number)
        for worker in self._workers.values():
            if worker.ready and worker.number not in self._scheduler.running:
                job = self._scheduler.next(worker.number)
                if job is None:
                    continue
                worker.deadline_s = time.monotonic() + self._config.start_timeout_s
                worker.doing = "beginning"
                worker.play(job, self._record(job))

    def _start_worker(self, number: int) -> None:
        url, token = self._start_server()
        worker = _Process(number, self._config, url, token, self._identity)
        self._workers[number] = worker
        self._selector.register(worker.read, selectors.EVENT_READ, worker)

    def _listen(self, worker: _Process, store: ResultStore, bar: Any) -> None:
        try:
            messages = worker.messages()
        except wire.BrokenWireError as error:
            self._lost(worker, f"worker spoke nonsense: {error}", store, bar)
            return
        for message in messages:
            kind = message["kind"]
            if kind == "ready":
                worker.ready = True
            elif kind == "alive":
                worker.doing = message["doing"]
                starting = message["doing"] in ("making the environment", "resetting")
                timeout_s = self._config.start_timeout_s if starting else self._config.step_timeout_s
                worker.deadline_s = time.monotonic() + timeout_s
            elif kind == "result":
                self._finished(worker, message, store, bar)
            elif kind == "failed":
                self._failed(worker, message, store, bar)
                if self._workers.get(worker.number) is not worker:
                    return
        if worker.ended:
            self._ended(worker, store, bar)

    def _watch(self, store: ResultStore, bar: Any) -> None:
        now = time.monotonic()
        for worker in list(self._workers.values()):
            busy = worker.number in self._scheduler.running or not worker.ready
            if busy and now > worker.deadline_s:
                self._lost(worker, f"the simulator hung while {worker.doing}; it was killed", store, bar)

    def _finished(self, worker: _Process, message: wire.Message, store: ResultStore, bar: Any) -> None:
        job = self._scheduler.done(worker.number)
        self._working_environments.add(job.episode.environment)
        self._set_up_failures.clear()
        content = {name: value for name, value in message.items() if name not in ("kind", "notes", "success", "stages")}
        result = self._result(
            job,
            status="ok",
            success=Success(**message["success"]),
            stages={name: Stage(**stage) for name, stage in message["stages"].items()},
            notes=tuple(message["notes"]),
            record=self._record(job),
            **content,
        )
        self._store(store, result)
        self._summary.played += 1
        self._advance(bar, result)

    def _failed(self, worker: _Process, message: wire.Message, store: ResultStore, bar: Any) -> None:
        cause, text = message["cause"], message["message"]
        job = self._scheduler.running[worker.number]
        if cause == "mismatch":
            raise RunError(text)
        if cause == "setup" and job.episode.environment not in self._working_environments:
            # Nothing to do with this one episode: a missing asset, no device that renders, an unknown option.
            self._set_up_failures[job.episode.environment] += 1
            if self._set_up_failures[job.episode.environment] > 1:
                raise RunError(f"the environment {job.episode.make!r} cannot be made: {text}")
        if cause == "policy":
            text = f"the policy could not be asked: {text}"
        # A simulator that raised may be in any state, and a lost policy server needs a new connection.
        self._lost(worker, text, store, bar)

    def _ended(self, worker: _Process, store: ResultStore, bar: Any) -> None:
        try:
            status = worker.process.wait(_STOPPING_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            status = worker.process.wait()
        ready = worker.ready
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        words = worker.last_words()
        if not ready:
            self._set_up_failures["worker"] += 1
            if self._set_up_failures["worker"] >= self._config.attempts:
                raise RunError(f"worker processes do not start; they end {how}: {words}")
        self._lost(worker, f"the simulator's process ended {how} while {worker.doing}: {words}", store, bar)

    def _lost(self, worker: _Process, why: str, store: ResultStore, bar: Any) -> None:
        """The worker is not to be trusted any more: replaces it and sees to its episode."""
        self._selector.unregister(worker.read)
        worker.kill()
        del self._workers[worker.number]
        if worker.number in self._scheduler.running:
            job, again = self._scheduler.failed(worker.number)
            name = f"{job.episode.task} {job.episode.variant} {job.episode.episode_id}"
            if again:
                bar.write(f"{name}: {why}; trying again", file=sys.stderr)
            else:
                bar.write(f"{name}: {why}; given up, recorded as an error", file=sys.stderr)
                result = self._result(job, status="error", error=why, success=None)
                self._store(store, result)
                self._summary.errors += 1
                self._advance(bar, result)
        self._scheduler.forget(worker.number)

    def _end_workers(self) -> None:
        for worker in self._workers.values():
            worker.stop()
        until = time.monotonic() + (_STOPPING_S if self._interrupts < 2 and self._scheduler.finished else 0.0)
        for worker in self._workers.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, until - time.monotonic()))
            if worker.number in self._scheduler.running:
                self._scheduler.abandoned(worker.number)
            worker.kill()
        self._workers.clear()
        self._selector.close()

    # Lines.

    def _record(self, job: Job) -> str:
        return f"episodes/{job.key.name}.npz"

    def _result(self, job: Job, **content: Any) -> EpisodeResult:
        return EpisodeResult(
            key=job.key,
            episode=job.episode,
            rule=self._config.rule,
            clock=job.manner.clock,
            latency_ms=job.manner.latency_ms,
            training=self._training,
            settings=self._config.settings,
            attempts=self._scheduler.attempts(job),
            host=platform.node(),
            written=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            **content,
        )

    def _advance(self, bar: Any, result: EpisodeResult) -> None:
        if result.success is not None:
            self._rates[bool(result.success.under(self._config.rule))] += 1
        count = self._rates[True] + self._rates[False]
        bar.set_description_str("", refresh=False)
        if count:
            bar.set_postfix_str(f"{Rate(self._rates[True], count)}, {self._summary.errors} errors", refresh=False)
        bar.update()
