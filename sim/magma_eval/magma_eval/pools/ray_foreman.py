"""Hands jobs to actors on a cluster, one each; see `ray_jobs`."""

from __future__ import annotations

import heapq
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from magma_eval.pools import ray_api, ray_cluster
from magma_eval.pools.admission import Admission
from magma_eval.pools.nodes import Node, roomiest
from magma_eval.pools.ray_cluster import RayError
from magma_eval.pools.ray_jobs import Work

MOST_LOSSES = 5
"""How often a job may lose its worker: what takes one down so often is the job itself."""
MOST_STARTS = 20
"""How often in a row workers may be lost before they have begun."""
AHEAD = 4
"""So many jobs of each worker are begun at most before the oldest one is done: whoever wants results in the order of
their jobs holds no more."""
_LOOK_S = 2.0


class Hand:
    """A worker on its machine: an actor.

    Args:
        work: what it does.
        path: where modules are found besides the usual places.
    """

    def __init__(self, work: Work, path: Sequence[str]) -> None:
        ray_cluster.as_without_ray()
        sys.path += [part for part in path if part not in sys.path]
        self._work = work

    def facts(self) -> dict[str, str]:
        """What on this machine decides how jobs come out."""
        return dict(self._work.facts())

    def begin(self) -> None:
        """Makes it ready."""
        self._work.begin()

    def do(self, job: Any) -> Any:
        """A job's result."""
        return self._work.do(job)


class _Worker:
    """One actor, seen from here."""

    def __init__(self, actor: ray_api.Actor, node: Node) -> None:
        self.actor, self.node = actor, node
        self.began = False
        self.asked = actor.ask("facts")
        self.compared = False
        self.job: int | None = None


class Foreman:
    """Hands jobs to actors, one each."""

    def __init__(
        self, workers: int, work: Work, jobs: Sequence[Any], admission: Admission, say: Callable[[str], None]
    ) -> None:
        self._admission = admission
        self._wanted, self._work, self._jobs, self._say = workers, work, jobs, say
        self._waiting = list(range(len(jobs)))
        """a heap: what was lost comes first"""
        self._losses = [0] * len(jobs)
        self._starts_lost = 0
        self._refused: dict[str, str] = {}
        """node -> why"""
        self._workers: list[_Worker] = []
        self._told = False
        self._nodes: Mapping[str, Node] = {}
        self._looked_s = -_LOOK_S

    def results(self) -> Iterator[tuple[int, Any]]:
        """Number and result of every job."""
        left = len(self._jobs)
        while left:
            self._look()
            self._hand_out()
            asked = {worker.asked: worker for worker in self._workers if worker.asked is not None}
            if not asked:
                time.sleep(0.1)
            for one in ray_api.answered(list(asked), _LOOK_S):
                result = self._answered(asked[one])
                if result is not None:
                    self._hand_out()  # nobody waits while the result is being kept
                    left -= 1
                    yield result

    def close(self) -> None:
        """Ends all workers."""
        for worker in self._workers:
            worker.actor.kill()
        self._workers.clear()

    def _look(self) -> None:
        """Every two seconds: which machines there are; and workers for places that are free."""
        if time.monotonic() < self._looked_s + _LOOK_S:
            return
        self._looked_s = time.monotonic()
        self._nodes = ray_api.nodes()
        for worker in list(self._workers):
            if worker.asked is None and self._leaves(worker):
                self._end(worker)
        if self._nodes and all(name in self._refused for name in self._nodes):
            raise RayError(next(iter(self._refused.values())))
        in_hand = sum(worker.job is not None for worker in self._workers)
        while len(self._workers) < min(self._wanted, in_hand + len(self._waiting)):
            taken: dict[str, float] = {}
            for worker in self._workers:
                taken[worker.node.name] = taken.get(worker.node.name, 0.0) + 1.0
            place = roomiest(self._nodes, taken, self._refused)
            if place is None:
                if not self._told:
                    self._told = True
                    self._say(f"{self._wanted - len(self._workers)} of {self._wanted} workers wait for a free core")
                return
            path = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
            self._workers.append(_Worker(ray_api.Actor(Hand, self._work, path, node=place), self._nodes[place]))

    def _hand_out(self) -> None:
        """Gives idle workers jobs; none that is far ahead of the oldest."""
        begun = [worker.job for worker in self._workers if worker.job is not None]
        for worker in self._workers:
            if not self._waiting or self._waiting[0] >= min([self._waiting[0], *begun]) + AHEAD * self._wanted:
                return
            if worker.asked is None and not self._leaves(worker):
                worker.job = heapq.heappop(self._waiting)
                worker.asked = worker.actor.ask("do", self._jobs[worker.job])
                begun.append(worker.job)

    def _leaves(self, worker: _Worker) -> bool:
        node = self._nodes.get(worker.node.name)
        return node is not None and node.draining

    def _answered(self, worker: _Worker) -> tuple[int, Any] | None:
        """Number and result, if it was a job that was answered."""
        asked, worker.asked = worker.asked, None
        try:
            answer = ray_api.answer(asked)
        except ray_api.ActorRaisedError as error:
            raise error.cause if isinstance(error.cause, Exception) else RayError(str(error)) from error
        except ray_api.ActorError as error:
            self._lost(worker, str(error))
            return None
        if not worker.compared:
            worker.compared = True
            objection = self._admission.objection(str(worker.node), answer)
            if objection:
                self._refused[worker.node.name] = objection
                self._say(f"a worker was refused: {objection}")
                self._end(worker)
                return None
            worker.asked = worker.actor.ask("begin")
        elif not worker.began:
            worker.began, self._starts_lost = True, 0
        elif worker.job is not None:
            job, worker.job = worker.job, None
            return job, answer
        return None

    def _end(self, worker: _Worker) -> None:
        worker.actor.kill()
        self._workers.remove(worker)
        self._looked_s = -_LOOK_S

    def _lost(self, worker: _Worker, why: str) -> None:
        self._end(worker)
        if worker.job is None:
            self._starts_lost += 1
            if self._starts_lost >= MOST_STARTS:
                raise RayError(f"workers do not start on the cluster: {why}")
            return
        self._losses[worker.job] += 1
        if self._losses[worker.job] >= MOST_LOSSES:
            raise RayError(f"job {worker.job} has lost its worker {MOST_LOSSES} times: {why}")
        heapq.heappush(self._waiting, worker.job)
        self._say(f"a worker is lost, its job goes to another: {why[:300]}")
