"""Workers on the machines of a Ray cluster. Ray carries leases and answers, starts what is lost anew elsewhere, and
tells of machines that come and go; it owns nothing. Whoever uses this has joined a cluster (`ray_cluster.cluster`).

A worker is an actor with an ordinary worker process below it (`processes.ProcessPool`): a simulator that hangs or
crashes is killed, named and told of on its own machine. The actor holds an answer until it is acknowledged, and gives
it again when it is asked again.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from magma_eval.pools import ray_api, ray_cluster
from magma_eval.pools.admission import Admission, code_facts
from magma_eval.pools.nodes import Node, roomiest
from magma_eval.pools.processes import ProcessPool
from magma_eval.pools.protocol import (
    Event,
    Failed,
    Finished,
    Lease,
    Lost,
    Ready,
    Refused,
    WorkerSetup,
    Working,
    lease_as_json,
    lease_from,
    setup_as_json,
    setup_from,
)

_LOOK_S = 2.0
_WITHOUT_POLICY = "waiting for the policy"
_RETRIES = 5
"""How often an actor that cannot be reached is asked again before it counts as lost."""
_LATE_S = 600.0
"""How long a lost worker's answer is still waited for."""


class Host:
    """A worker on its machine: an actor around a worker process.

    Args:
        start_timeout_s, step_timeout_s: as of `ProcessPool`.
        variables: for the environment of the worker process.
    """

    def __init__(self, start_timeout_s: float, step_timeout_s: float, variables: Mapping[str, str]) -> None:
        ray_cluster.as_without_ray()
        os.environ.update(variables)
        sys.path += [part for part in variables.get("PYTHONPATH", "").split(os.pathsep) if part]
        self._folder = Path(tempfile.mkdtemp(prefix="magma-eval-", dir=ray_api.session_folder()))
        (self._folder / "episodes").mkdir()
        self._pool = ProcessPool(
            1, self._folder, "worker", start_timeout_s=start_timeout_s, step_timeout_s=step_timeout_s
        )
        self._doing = "starting"
        self._answer: dict[str, Any] = {}

    def about(self, tasks: list[str], factory: str) -> dict[str, str]:
        """What is installed here; see `code_facts`."""
        return code_facts(tasks, factory)

    def set_up(self, setup: Mapping[str, Any]) -> dict[str, Any]:
        """Starts the worker process; what its machine is, or why it was lost."""
        self._pool.start(0, replace(setup_from(setup), folder=self._folder))
        while True:
            for event in self._pool.events(1.0):
                if isinstance(event, Ready):
                    return {"kind": "ready", "facts": dict(event.facts)}
                if isinstance(event, Lost):
                    return {"kind": "lost", "why": event.why, "outside": event.outside}

    def play(self, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Plays an episode; asked again before its answer was acknowledged, gives that."""
        if self._answer.get("lease") != lease["number"]:
            self._answer = {**self._play(lease_from(lease)), "lease": lease["number"]}
        return self._answer

    def doing(self) -> str:
        """What the worker process does just now."""
        return self._doing

    def acknowledge(self, number: int) -> None:
        """The answer of a lease is on the coordinator's disk."""
        if self._answer.get("lease") == number:
            self._answer = {}

    def stop(self) -> None:
        """Ends the worker process in good order."""
        self._pool.close(5.0)

    def _play(self, lease: Lease) -> dict[str, Any]:
        self._pool.lease(0, lease)
        while True:
            for event in self._pool.events(1.0):
                if isinstance(event, Working):
                    self._doing = event.doing
                elif isinstance(event, Finished):
                    record = self._folder / lease.record
                    data = record.read_bytes()
                    record.unlink()
                    return {"kind": "finished", "result": {**event.result, "host": platform.node()}, "record": data}
                elif isinstance(event, Failed):
                    return {"kind": "failed", "cause": event.cause, "message": event.message}
                elif isinstance(event, Lost):
                    return {"kind": "lost", "why": event.why, "outside": event.outside}


class Binding(Protocol):
    """Where workers find the policy, when the cluster serves it."""

    def nearest(self, node: str) -> tuple[str, str] | None:
        """URL and token for a worker on a node; None while none can be asked."""

    def look(self) -> None:
        """Replaces what is lost."""

    def alive(self, url: str) -> bool:
        """Whether the server of this URL answers."""

    def cores(self, node: str) -> float:
        """Cores of a node that they take."""


@dataclass
class _Remote:
    """One worker, seen from here."""

    number: int
    setup: WorkerSetup
    actor: ray_api.Actor | None = None
    node: str = ""
    state: str = "waiting for a machine"
    asked: Any = None
    """what it was asked last, until it is answered"""
    beat: Any = None
    heard_s: float = field(default_factory=time.monotonic)
    lease: Lease | None = None
    retries: int = 0
    started: bool = False

    @property
    def idle(self) -> bool:
        return self.started and self.lease is None


class RayPool:
    """A `WorkerPool` on a cluster.

    Args:
        admission: compares what workers tell of their machines.
        tasks: names for `magma_eval.benchmarks.make_task` that decide which code and which simulators are compared.
        start_timeout_s, step_timeout_s: as of `ProcessPool`; a machine that is silent for as long as a step may take is
            lost.
        say: told what a person should know.
        policies: where workers find the policy, when the cluster serves it.
    """

    def __init__(
        self,
        admission: Admission,
        tasks: tuple[str, ...],
        *,
        start_timeout_s: float,
        step_timeout_s: float,
        say: Callable[[str], None],
        policies: Binding | None = None,
    ) -> None:
        self._admission, self._tasks, self._say, self._policies = admission, tasks, say, policies
        self._start_timeout_s, self._step_timeout_s = start_timeout_s, step_timeout_s
        self._remotes: dict[int, _Remote] = {}
        self._late: dict[Any, tuple[_Remote, float]] = {}
        self._coming: list[Event] = []
        self._refused: dict[str, str] = {}
        """node -> why"""
        self._nodes: Mapping[str, Node] = {}
        self._looked_s = -_LOOK_S
        self._said: set[str] = set()

    @property
    def workers(self) -> Mapping[int, str]:
        return {number: remote.state for number, remote in self._remotes.items()}

    def start(self, worker: int, setup: WorkerSetup) -> None:
        self._remotes[worker] = _Remote(worker, replace(setup, facts_of=self._tasks))
        self._looked_s = -_LOOK_S

    def lease(self, worker: int, lease: Lease) -> None:
        remote = self._remotes[worker]
        remote.lease, remote.state, remote.retries = lease, "beginning", 0
        self._ask(remote, "play", lease_as_json(lease))

    def drop(self, worker: int) -> None:
        remote = self._remotes.pop(worker, None)
        if remote is not None and remote.actor is not None:
            remote.actor.kill()

    def events(self, timeout_s: float) -> list[Event]:
        self._look(time.monotonic())
        found, self._coming = self._coming, []
        asked = {remote.asked: remote for remote in self._remotes.values() if remote.asked is not None}
        waited = [*asked, *self._late]
        if not found and not waited:
            time.sleep(timeout_s)
        for ref in ray_api.answered(waited, 0.0 if found else timeout_s):
            found += self._answered(asked[ref]) if ref in asked else self._answered_late(ref)
        return found

    def close(self, patience_s: float) -> None:
        actors = [remote.actor for remote in self._remotes.values() if remote.actor is not None]
        if patience_s > 0:
            ray_api.wait_for_all([actor.ask("stop") for actor in actors], patience_s)
        for actor in actors:
            actor.kill()
        self._remotes.clear()
        self._late.clear()

    def _ask(self, remote: _Remote, method: str, *arguments: Any) -> None:
        assert remote.actor is not None
        remote.heard_s = time.monotonic()
        remote.asked = remote.actor.ask(method, *arguments)

    def _answered(self, remote: _Remote) -> list[Event]:
        ref, remote.asked, remote.heard_s = remote.asked, None, time.monotonic()
        try:
            answer = ray_api.answer(ref)
        except ray_api.ActorUnreachableError as error:
            if remote.lease is None or remote.retries >= _RETRIES:
                return [self._lost(remote, f"its machine cannot be reached: {error}", outside=True)]
            remote.retries += 1  # in a while, see `_look`
            return []
        except ray_api.ActorRaisedError as error:
            if not remote.started:
                # Not a loss: the same would happen there again.
                return [self._refuse(remote, f"{self._place(remote)} cannot hold a worker: {error}")]
            return [self._lost(remote, str(error))]
        except ray_api.ActorError as error:
            return [self._lost(remote, f"the worker on {self._place(remote)} is gone: {error}", outside=True)]
        if remote.lease is not None:
            return self._played(remote, answer)
        if "kind" not in answer:
            return self._joining(remote, answer)
        if answer["kind"] == "lost":
            return [self._lost(remote, answer["why"], outside=answer["outside"])]
        objection = self._admission.objection(self._place(remote), answer["facts"])
        if objection:
            return [self._refuse(remote, objection)]
        remote.started, remote.state = True, "waiting"
        return [Ready(remote.number, answer["facts"])]

    def _joining(self, remote: _Remote, facts: Mapping[str, str]) -> list[Event]:
        """It has told what is installed on its machine: then its simulator is started."""
        objection = self._admission.objection(self._place(remote), facts)
        if objection:
            return [self._refuse(remote, objection)]
        return self._set_up(remote)

    def _set_up(self, remote: _Remote) -> list[Event]:
        """Has its simulator started, bound to the nearest policy; waits where none can be asked."""
        if self._policies is not None:
            found = self._policies.nearest(remote.node)
            if found is None:
                remote.state = _WITHOUT_POLICY
                return []
            remote.setup = replace(remote.setup, url=found[0], token=found[1])
        remote.state = "starting"
        self._ask(remote, "set_up", setup_as_json(remote.setup))
        return []

    def _played(self, remote: _Remote, answer: Mapping[str, Any]) -> list[Event]:
        lease, remote.lease, remote.state = remote.lease, None, "waiting"
        assert lease is not None
        if answer["kind"] == "lost":
            return [self._lost(remote, answer["why"], outside=answer["outside"])]
        if answer["kind"] == "failed":
            gone = self._policies is not None and not self._policies.alive(remote.setup.url)
            if answer["cause"] == "policy" and gone:
                return [self._lost(remote, f"its policy is gone: {answer['message']}", outside=True)]
            return [Failed(remote.number, answer["cause"], answer["message"])]
        found: list[Event] = [self._finished(remote, lease, answer)]
        if self._draining(remote):
            found.append(self._leave(remote))
        return found

    def _finished(self, remote: _Remote, lease: Lease, answer: Mapping[str, Any]) -> Finished:
        def acknowledge() -> None:
            if remote.actor is not None:
                remote.actor.ask("acknowledge", lease.number)

        return Finished(remote.number, answer["result"], lease.number, answer["record"], acknowledge)

    def _answered_late(self, ref: Any) -> list[Event]:
        remote, _ = self._late.pop(ref)
        try:
            answer = ray_api.answer(ref)
        except ray_api.ActorError:
            return []
        if remote.lease is None or answer.get("kind") != "finished":
            return []
        return [replace(self._finished(remote, remote.lease, answer), worker=-1)]

    def _lost(self, remote: _Remote, why: str, *, outside: bool = False) -> Lost:
        if remote.asked is not None and remote.lease is not None:
            self._late[remote.asked] = (remote, time.monotonic() + _LATE_S)
        self.drop(remote.number)
        return Lost(remote.number, why, remote.started, outside)

    def _refuse(self, remote: _Remote, why: str) -> Event:
        self._refused[remote.node] = why
        self.drop(remote.number)
        if all(node in self._refused for node in ray_api.nodes()):
            return Lost(remote.number, why, False)
        return Refused(remote.number, why)

    def _leave(self, remote: _Remote) -> Lost:
        assert remote.actor is not None
        remote.actor.ask("stop")
        return self._lost(remote, f"{self._place(remote)} is being drained", outside=True)

    def _place(self, remote: _Remote) -> str:
        return str(self._nodes.get(remote.node, f"node {remote.node[:8]}"))

    def _draining(self, remote: _Remote) -> bool:
        node = self._nodes.get(remote.node)
        return node is not None and node.draining

    def _look(self, now_s: float) -> None:
        """Every two seconds: places who waits, hears who is alive, and sees which machines are going."""
        if now_s < self._looked_s + _LOOK_S:
            return
        self._looked_s = now_s
        self._nodes = ray_api.nodes()
        if self._policies is not None:
            self._policies.look()
        self._place_waiting()
        for ref, (_, until_s) in list(self._late.items()):
            if now_s > until_s:
                del self._late[ref]
        for remote in list(self._remotes.values()):
            if remote.state == _WITHOUT_POLICY:
                self._coming += self._set_up(remote)
            if remote.lease is not None and remote.asked is None:
                self._ask(remote, "play", lease_as_json(remote.lease))
            if remote.idle and self._draining(remote):
                self._coming.append(self._leave(remote))
            elif remote.actor is not None:
                self._hear(remote, now_s)

    def _hear(self, remote: _Remote, now_s: float) -> None:
        assert remote.actor is not None
        if remote.beat is not None and ray_api.answered([remote.beat], 0.0):
            try:
                doing = ray_api.answer(remote.beat)
            except ray_api.ActorError:
                doing = ""  # what it was asked says more
            remote.beat = None
            remote.heard_s = now_s
            if remote.lease is not None and doing:
                remote.state = doing
                self._coming.append(Working(remote.number, doing))
        if remote.beat is None and not remote.idle:
            remote.beat = remote.actor.ask("doing")
        allowed_s = self._step_timeout_s if remote.started else self._start_timeout_s
        if not remote.idle and now_s > remote.heard_s + allowed_s:
            why = f"nothing was heard of {self._place(remote)} for {allowed_s:g} s"
            self._coming.append(self._lost(remote, why, outside=remote.started))

    def _place_waiting(self) -> None:
        waiting = [remote for remote in self._remotes.values() if remote.actor is None]
        if self._nodes and all(name in self._refused for name in self._nodes):
            self._coming += [self._lost(remote, next(iter(self._refused.values()))) for remote in waiting]
            return
        for remote in waiting:
            taken = {name: self._policies.cores(name) if self._policies is not None else 0.0 for name in self._nodes}
            for other in self._remotes.values():
                taken[other.node] = taken.get(other.node, 0.0) + 1.0
            place = roomiest(self._nodes, taken, self._refused)
            if place is None:
                left = sum(other.actor is None for other in waiting)
                self._tell_once(
                    f"{left} of {len(self._remotes)} workers wait for a free core: give fewer --workers, or "
                    "the cluster more nodes"
                )
                return
            remote.node, remote.state = place, "starting"
            variables = {"PYTHONPATH": os.environ["PYTHONPATH"]} if os.environ.get("PYTHONPATH") else {}
            arguments = (self._start_timeout_s, self._step_timeout_s, variables)
            remote.actor = ray_api.Actor(Host, *arguments, node=place, beside=("doing",))
            self._ask(remote, "about", list(self._tasks), remote.setup.factory)

    def _tell_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)
