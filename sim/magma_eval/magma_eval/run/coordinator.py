"""Sees a run through: leases episodes to the workers of a pool, keeps what they bring, and tries again what failed."""

from __future__ import annotations

import datetime
import platform
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from magma_eval.pools.protocol import Event, Failed, Finished, Lease, Lost, Ready, Refused, WorkerPool, WorkerSetup
from magma_eval.results.episode_result import EpisodeResult, Key, Stage, Success, SuccessRule
from magma_eval.run.leases import MOST_LOSSES, LeaseBook, Worth
from magma_eval.run.progress import Progress, say
from magma_eval.run.recorder import Recorder
from magma_eval.run.scheduler import Job, Scheduler

_POLL_S = 0.25
_ENDING_S = 5.0


class RunError(RuntimeError):
    """The run cannot go on; the message says why and what to do. What was finished stays."""


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
    contradictions: int = 0
    """episodes that were played twice and ended differently: they are not reproducible"""
    interrupted: bool = False


@dataclass(frozen=True)
class Limits:
    """How many workers, and how often."""

    workers: int
    attempts: int
    """how often an episode may be tried, and workers that do not start"""


class Coordinator:
    """One run in progress.

    Args:
        scheduler: what is to be played.
        pool: who plays; the coordinator closes it.
        setup: gives what a new worker needs; called for each, so that a lost policy server can be replaced.
        recorder: who keeps the results.
        progress: who is told.
        limits: of workers and attempts.
        rule: the run's success rule.
        settings: of the results: what was chosen and differs from the default, in words.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        pool: WorkerPool,
        setup: Callable[[], WorkerSetup],
        recorder: Recorder,
        progress: Progress,
        limits: Limits,
        *,
        rule: SuccessRule,
        settings: Mapping[str, str],
    ) -> None:
        self._scheduler, self._pool, self._setup = scheduler, pool, setup
        self._book = LeaseBook(scheduler, recorder.results)
        self._recorder, self._progress, self._limits = recorder, progress, limits
        self._rule, self._settings = rule, settings
        self._idle: set[int] = set()
        self._given_up: set[Key] = set()
        """what this run has recorded as errors"""
        self._set_up_failures: Counter[str] = Counter()
        self._working_environments: set[str] = set()
        self.summary = Summary()

    def run(self, interrupts: Callable[[], int]) -> None:
        """Until everything was played.

        Args:
            interrupts: how often the person at the terminal wants it to end: after one, the running episodes are
                finished; after two they are not.

        Raises:
            RunError: it cannot go on.
        """
        told = False
        try:
            while interrupts() < 2:
                if interrupts():
                    if not told:
                        say("stopping after the running episodes; once more to stop now")
                        told = True
                    if not self._scheduler.running:
                        break
                elif self._scheduler.finished:
                    break
                else:
                    self._lease()
                self._progress.waiting(self._pool.workers.values())
                for event in self._pool.events(_POLL_S):
                    self._handle(event)
        finally:
            self._pool.close(_ENDING_S if interrupts() < 2 and self._scheduler.finished else 0.0)
            self._book.abandon_all()
            self.summary.left = self._scheduler.waiting

    def _lease(self) -> None:
        """Gives every worker that can have one an episode; starts workers while there are more episodes than them."""
        wanted = min(self._limits.workers, self._scheduler.waiting + len(self._scheduler.running))
        for worker in range(self._limits.workers):
            if worker not in self._pool.workers and len(self._pool.workers) < wanted:
                self._pool.start(worker, self._setup())
        for worker in sorted(self._idle):
            leased = self._book.lease(worker)
            if leased is not None:
                self._idle.discard(worker)
                job = leased.job
                self._pool.lease(worker, Lease(job.episode, job.settings, job.seed, _record(job), leased.number))

    def _handle(self, event: Event) -> None:
        if isinstance(event, Ready):
            self._idle.add(event.worker)
        elif isinstance(event, Finished):
            self._finished(event)
        elif isinstance(event, Failed):
            self._failed(event)
        elif isinstance(event, Lost):
            if not event.started:
                attempts = MOST_LOSSES if event.outside else self._limits.attempts
                self._not_set_up("worker", f"worker processes do not start: {event.why}", attempts)
            self._give_up_on(event.worker, event.why, outside=event.outside)
        elif isinstance(event, Refused):
            say(f"a worker was refused: {event.why}")
            self._give_up_on(event.worker, event.why)

    def _finished(self, event: Finished) -> None:
        held = self._book.held(event.worker)
        number = event.lease if event.lease is not None else held.number if held else 0
        job = self._book.job(number)
        if held is not None and held.number == number:
            self._idle.add(event.worker)
        if job is None:
            event.acknowledge()  # heard before
            return
        self._working_environments.add(job.episode.environment)
        self._set_up_failures.clear()
        content = dict(event.result)
        content["success"] = Success(**content["success"])
        content["stages"] = {name: Stage(**stage) for name, stage in content["stages"].items()}
        content["notes"] = tuple(content["notes"])
        result = self._result(job, status="ok", record=_record(job), **content)
        before = self._book.kept(job.key)
        worth = self._book.answered(number, result)
        if worth is Worth.NEW:
            self._keep(result, event.record)
            self.summary.played += 1
            if before is not None and before.status == "error" and before.key in self._given_up:
                self._given_up.discard(before.key)
                self.summary.errors -= 1
        elif worth is Worth.CONTRADICTION and before is not None:
            differ = before.difference(result)
            say(f"not reproducible: {_name(job)} was played twice and ended differently: {differ}; the first counts")
            self._recorder.keep_contradiction(before, result)
            self.summary.contradictions += 1
        event.acknowledge()

    def _failed(self, event: Failed) -> None:
        if event.cause == "mismatch":
            raise RunError(event.message)
        held = self._book.held(event.worker)
        if held is None:
            return
        job = held.job
        environment = job.episode.environment
        if event.cause == "setup" and environment not in self._working_environments:
            # Nothing to do with this one episode: a missing asset, no device that renders, an unknown option.
            self._not_set_up(
                environment, f"the environment {job.episode.make!r} cannot be made: {event.message}", attempts=2
            )
        text = f"the policy could not be asked: {event.message}" if event.cause == "policy" else event.message
        # A simulator that raised may be in any state, and a lost policy server needs a new connection.
        self._pool.drop(event.worker)
        self._give_up_on(event.worker, text)

    def _not_set_up(self, what: str, text: str, attempts: int) -> None:
        """RunError when that went wrong so often in a row."""
        self._set_up_failures[what] += 1
        if self._set_up_failures[what] >= attempts:
            raise RunError(text)

    def _give_up_on(self, worker: int, why: str, *, outside: bool = False) -> None:
        """A worker is gone: another will take its place; its episode is tried again, or recorded as an error."""
        self._idle.discard(worker)
        failed = self._book.failed(worker, outside=outside)
        if failed is not None:
            job, again = failed
            say(f"{_name(job)}: {why}; {'trying again' if again else 'given up, recorded as an error'}")
            if not again:
                self.summary.errors += 1
                self._given_up.add(job.key)
                result = self._result(job, status="error", error=why, success=None)
                self._book.given_up(result)
                self._keep(result)
        self._scheduler.forget(worker)

    def _result(self, job: Job, **content: Any) -> EpisodeResult:
        known: dict[str, Any] = {
            "key": job.key,
            "episode": job.episode,
            "rule": self._rule,
            "clock": job.settings.clock,
            "latency_ms": job.settings.latency_ms,
            "training": self._recorder.training,
            "settings": self._settings,
            "attempts": self._book.attempts(job),
            "host": platform.node(),
            "written": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }
        return EpisodeResult(**{**known, **content})

    def _keep(self, result: EpisodeResult, record: bytes | None = None) -> None:
        if record is not None:
            self._recorder.keep_record(result.record, record)
        self._recorder.keep(result)
        self._progress.advance(result)


def _name(job: Job) -> str:
    return f"{job.episode.task} {job.episode.variant} {job.episode.episode_id}"


def _record(job: Job) -> str:
    return f"episodes/{job.key.name}.npz"
