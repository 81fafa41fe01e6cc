"""Which episode is played next and what becomes of one that failed. No processes and no clock in here."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from magma_eval.episodes import Episode
from magma_eval.results.episode_result import Key
from magma_eval.rollout.settings import RolloutSettings


@dataclass(frozen=True)
class Job:
    """One episode to play, and how."""

    key: Key
    episode: Episode
    settings: RolloutSettings
    seed: int


class Scheduler:
    """Hands out jobs so that a worker stays with one environment while it has episodes left.

    Building an environment takes seconds; a worker that has one goes on with it. A worker without takes the
    environment with the most episodes left that no other has, or shares the fullest.

    Args:
        jobs: what to play.
        attempts: how often an episode may be tried before it is given up.

    Raises:
        ValueError: fewer than one attempt.
    """

    def __init__(self, jobs: Iterable[Job], attempts: int) -> None:
        if attempts < 1:
            raise ValueError(f"an episode needs at least one attempt, got {attempts}")
        self._attempts = attempts
        self._tries: dict[Key, int] = {}
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self._environment: dict[int, str] = {}
        self._running: dict[int, Job] = {}
        for job in jobs:
            self._waiting.setdefault(job.episode.environment, deque()).append(job)

    @property
    def waiting(self) -> int:
        """Jobs that nobody plays yet."""
        return sum(map(len, self._waiting.values()))

    @property
    def running(self) -> dict[int, Job]:
        """Worker -> job."""
        return dict(self._running)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to play."""
        return not self._running and not self.waiting

    def next(self, worker: int) -> Job | None:
        """The next job for an idle worker; None when there is none."""
        if worker in self._running:
            raise ValueError(f"worker {worker} is busy")
        environment = self._choose(worker)
        if environment is None:
            return None
        queue = self._waiting[environment]
        job = queue.popleft()
        if not queue:
            del self._waiting[environment]
        self._environment[worker] = environment
        self._running[worker] = job
        self._tries[job.key] = self.attempts(job) + 1
        return job

    def attempts(self, job: Job) -> int:
        """How often the job was begun."""
        return self._tries.get(job.key, 0)

    def done(self, worker: int) -> Job:
        """The worker finished its job."""
        return self._running.pop(worker)

    def failed(self, worker: int) -> tuple[Job, bool]:
        """The worker's job failed. Returns it and whether it will be tried again."""
        job = self._running.pop(worker)
        again = self.attempts(job) < self._attempts
        if again:
            self._waiting.setdefault(job.episode.environment, deque()).append(job)
        return job, again

    def abandoned(self, worker: int) -> None:
        """The worker's job was stopped for a reason that has nothing to do with it; it counts as never begun."""
        job = self._running.pop(worker)
        self._tries[job.key] -= 1
        self._waiting.setdefault(job.episode.environment, deque()).appendleft(job)

    def withdraw(self, job: Job) -> None:
        """Somebody has played a job that waits to be played again; no effect where it does not wait."""
        queue = self._waiting.get(job.episode.environment, deque())
        left = deque(waiting for waiting in queue if waiting.key != job.key)
        if left:
            self._waiting[job.episode.environment] = left
        else:
            self._waiting.pop(job.episode.environment, None)

    def forget(self, worker: int) -> None:
        """The worker's process ended: it has no environment any more."""
        self._environment.pop(worker, None)

    def _choose(self, worker: int) -> str | None:
        if not self._waiting:
            return None
        mine = self._environment.get(worker)
        if mine in self._waiting:
            return mine
        taken = {environment for other, environment in self._environment.items() if other != worker}
        free = [environment for environment in self._waiting if environment not in taken]
        return max(free or self._waiting, key=lambda environment: len(self._waiting[environment]))
