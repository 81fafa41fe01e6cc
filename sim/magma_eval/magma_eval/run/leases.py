"""Who holds which episode, and what an answer is worth: new, said already, or a contradiction.

The coordinator leases single episodes. A lease ends with an answer, or is given back because its worker is lost; a
worker that was thought to be lost may answer all the same. Whatever order answers, losses and repetitions come in,
every episode has one result. No transport, no processes and no clock in here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from magma_eval.results.episode_result import EpisodeResult, Key
from magma_eval.run.scheduler import Job, Scheduler

MOST_LOSSES = 20
"""How often an episode may lose its worker by no fault of its own; whatever takes one down so often is its fault."""


class Worth(Enum):
    """What an answer is worth."""

    NEW = "new"
    """it is to be kept"""
    REPEATED = "repeated"
    """another answer, kept already, says the same"""
    CONTRADICTION = "contradiction"
    """another answer, kept already, says something else: the episode is not reproducible"""


@dataclass(frozen=True)
class Leased:
    """One episode in one worker's hands."""

    number: int
    worker: int
    job: Job


class LeaseBook:
    """The leases of a run.

    Args:
        scheduler: what is to be played, and in which order.
        results: what is kept already.
    """

    def __init__(self, scheduler: Scheduler, results: Iterable[EpisodeResult] = ()) -> None:
        self._scheduler = scheduler
        self._kept = {result.key: result for result in results}
        self._open: dict[int, Leased] = {}
        """by worker"""
        self._given: dict[int, Job] = {}
        """by number: every lease without an answer, those of lost workers too"""
        self._losses: dict[Key, int] = {}
        self._count = 0

    def lease(self, worker: int) -> Leased | None:
        """The next episode for an idle worker; None when there is none. ValueError: the worker has one."""
        job = self._scheduler.next(worker)
        if job is None:
            return None
        self._count += 1
        leased = Leased(self._count, worker, job)
        self._open[worker] = leased
        self._given[leased.number] = job
        return leased

    def held(self, worker: int) -> Leased | None:
        """What a worker has."""
        return self._open.get(worker)

    def job(self, number: int) -> Job | None:
        """The episode of a lease that nobody has answered; None where it is answered already."""
        return self._given.get(number)

    def kept(self, key: Key) -> EpisodeResult | None:
        """The result that an episode has."""
        return self._kept.get(key)

    def attempts(self, job: Job) -> int:
        """How often an episode was begun, losses that were not its fault left out."""
        return self._scheduler.attempts(job)

    def answered(self, number: int, result: EpisodeResult) -> Worth:
        """Somebody has played the episode of a lease; a NEW result counts as kept from now on.

        Raises:
            KeyError: the lease was never given, or was answered before.
        """
        job = self._given.pop(number)
        for worker, leased in list(self._open.items()):
            if leased.number == number:
                del self._open[worker]
                self._scheduler.done(worker)
        before = self._kept.get(job.key)
        if before is None or before.status == "error":
            self._kept[job.key] = result
            # A lost worker's answer: nobody needs to begin the episode again. Who plays it already may finish.
            self._scheduler.withdraw(job)
            return Worth.NEW
        return Worth.CONTRADICTION if before.difference(result) else Worth.REPEATED

    def failed(self, worker: int, *, outside: bool = False) -> tuple[Job, bool] | None:
        """A worker's episode is not going to be finished by it; None where it had none, or the episode has a result.

        Args:
            worker: which.
            outside: the worker was taken away: that is no try of the episode.

        Returns:
            the episode, and whether it will be tried again.
        """
        leased = self._open.pop(worker, None)
        if leased is None:
            return None
        before = self._kept.get(leased.job.key)
        if before is not None and before.status == "ok":
            self._scheduler.done(worker)
            return None
        if outside:
            losses = self._losses[leased.job.key] = self._losses.get(leased.job.key, 0) + 1
            if losses < MOST_LOSSES:
                self._scheduler.abandoned(worker)
                return leased.job, True
        return self._scheduler.failed(worker)

    def given_up(self, result: EpisodeResult) -> None:
        """An episode is recorded as an error; a late answer may still replace it."""
        self._kept[result.key] = result

    def abandon_all(self) -> None:
        """The run stops: what is under way counts as never begun."""
        for worker in list(self._open):
            del self._open[worker]
            self._scheduler.abandoned(worker)
