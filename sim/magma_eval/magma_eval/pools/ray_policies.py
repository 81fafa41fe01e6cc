"""Servers of a checkpoint on a Ray cluster: each an actor around `magma-serve`, which batches what its workers ask.

A worker asks one on its own machine where there is one, else the one that fewest ask. One that is lost, or whose
machine is being drained, is replaced, and what takes its place must be the same policy by content.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magma_eval.policies.choice import PolicyChoice
from magma_eval.policies.served import served_identity
from magma_eval.pools import ray_api
from magma_eval.pools.ray_cluster import RayError
from magma_policy_client import LocalServer

_BEAT_S = 30.0
"""A server that is silent for so long is lost."""
_ASKING_S = 10.0
_ENDING_S = 6.0
_STARTS = 5
"""How often in a row a server may fail to start."""


class PolicyHost:
    """A policy server on its machine. It ends with this actor.

    Args:
        choice: fields of `PolicyChoice`.
        timeout_s: how long loading may take.
        loopback: whether only this machine asks it.

    Raises:
        ServerError: it does not start. PolicyFailedError: it does not say what it is.
    """

    def __init__(self, choice: Mapping[str, Any], timeout_s: float, loopback: bool) -> None:
        policy = PolicyChoice(**choice)
        self._node, address = ray_api.own_node()
        self._server = LocalServer(
            policy.argument,
            device=policy.device,
            threads=policy.threads,
            timeout_s=timeout_s,
            arguments=("--host", "127.0.0.1" if loopback else address),
            log=Path(ray_api.session_folder(), f"magma-serve-{time.time_ns()}.log"),
        )
        self._identity = served_identity(policy, self._server.url, self._server.token, _ASKING_S)

    def about(self) -> dict[str, str]:
        """Where and what it is."""
        return {"url": self._server.url, "token": self._server.token, "identity": self._identity, "node": self._node}

    def alive(self) -> bool:
        """Whether the server runs."""
        return self._server.process.poll() is None

    def stop(self) -> None:
        """Ends the server."""
        self._server.close()


@dataclass
class _Served:
    """One server, seen from here."""

    actor: ray_api.Actor
    asked: ray_api.Asked
    asked_s: float
    about: Mapping[str, str] | None = None
    leaving: bool = False
    """its machine is going: it answers those who ask it already, and another takes its place"""


class RayPolicies:
    """The servers of one policy on the cluster that this process has joined.

    Args:
        choice: the checkpoint; every machine that is to serve it must have its files at the same place.
        count: servers.
        gpus: of each, as Ray counts them.
        timeout_s: longest time to start one.
        loopback: whether all workers are on this machine.
        say: told of losses and refusals.

    Raises:
        RayError: they do not all start.
    """

    def __init__(
        self,
        choice: PolicyChoice,
        count: int,
        gpus: float,
        *,
        timeout_s: float,
        loopback: bool,
        say: Callable[[str], None],
    ) -> None:
        self._choice, self._count, self._gpus = choice, count, gpus
        self._timeout_s, self._loopback, self._say = timeout_s, loopback, say
        self._cores = 1.0 if gpus else float(max(1, choice.threads))
        self._served: list[_Served] = []
        self._bound: Counter[str] = Counter()
        """workers by URL"""
        self._failures = 0
        self.identity = ""
        """the policy's content: that of the first server"""
        say(f"starting {count} {'server' if count == 1 else 'servers'} of {choice.label} on the cluster …")
        until_s = time.monotonic() + timeout_s
        try:
            while len(self._ready()) < count:
                if time.monotonic() > until_s:
                    raise RayError(
                        f"{len(self._ready())} of {count} servers of {choice.label} were ready after {timeout_s:g} s: "
                        f"each needs {self._cores:g} cores and {gpus:g} GPUs of one machine"
                    )
                self.look()
                time.sleep(0.05)
        except BaseException:
            self.close()
            raise

    @property
    def addresses(self) -> list[tuple[str, str]]:
        """URL and token of every server that is ready."""
        return [(about["url"], about["token"]) for about in self._ready()]

    def look(self) -> None:
        """Replaces what is lost. RayError when there is no server and none starts."""
        draining = {name for name, node in ray_api.nodes().items() if node.draining}
        for served in list(self._served):
            self._look_at(served)
            if served.about is not None and not served.leaving and served.about["node"] in draining:
                served.leaving = True
                self._say(f"a server of {self._choice.label} is on a machine that is being drained: another is started")
        while sum(not served.leaving for served in self._served) < self._count:
            arguments = (dataclasses.asdict(self._choice), self._timeout_s, self._loopback)
            actor = ray_api.Actor(PolicyHost, *arguments, cores=self._cores, gpus=self._gpus)
            self._served.append(_Served(actor, actor.ask("about"), time.monotonic()))

    def nearest(self, node: str) -> tuple[str, str] | None:
        """URL and token for a worker on a node; None while none can be asked."""
        staying = [served.about for served in self._served if served.about is not None and not served.leaving]
        if not staying:
            return None
        near = [about for about in staying if about["node"] == node] or staying
        chosen = min(near, key=lambda about: self._bound[about["url"]])
        self._bound[chosen["url"]] += 1
        return chosen["url"], chosen["token"]

    def alive(self, url: str) -> bool:
        """Whether the server of this URL runs; it is asked anew."""
        for served in list(self._served):
            if served.about is not None and served.about["url"] == url:
                served.asked, served.asked_s = served.actor.ask("alive"), time.monotonic()
                ray_api.answered([served.asked], _ASKING_S)
                self._look_at(served)
                return served in self._served
        return False

    def cores(self, node: str) -> float:
        """Cores of a node that the servers take."""
        return self._cores * sum(about["node"] == node for about in self._ready())

    def close(self) -> None:
        """Ends all."""
        ray_api.wait_for_all([served.actor.ask("stop") for served in self._served], _ENDING_S)
        for served in self._served:
            served.actor.kill()
        self._served.clear()

    def _ready(self) -> list[Mapping[str, str]]:
        return [served.about for served in self._served if served.about is not None]

    def _look_at(self, served: _Served) -> None:
        if served.asked is None:
            served.asked, served.asked_s = served.actor.ask("alive"), time.monotonic()
        if not ray_api.answered([served.asked], 0.0):
            if time.monotonic() > served.asked_s + (self._timeout_s if served.about is None else _BEAT_S):
                self._lose(served, "it does not answer")
            return
        try:
            answer = ray_api.answer(served.asked)
        except ray_api.ActorError as error:
            self._lose(served, str(error))
            return
        served.asked = None
        if served.about is None:
            self._join(served, answer)
        elif not answer:
            self._lose(served, "its server has ended")

    def _join(self, served: _Served, about: Mapping[str, str]) -> None:
        self.identity = self.identity or about["identity"]
        if about["identity"] != self.identity:
            self._lose(
                served,
                f"node {about['node'][:8]} has another policy in its place: it is of content "
                f"{about['identity'][:12]}, the run's is {self.identity[:12]}",
            )
            return
        served.about, self._failures = about, 0

    def _lose(self, served: _Served, why: str) -> None:
        served.actor.kill()
        self._served.remove(served)
        if served.about is None:
            self._failures += 1
            if self._failures >= _STARTS and not self._ready():
                raise RayError(f"servers of {self._choice.label} do not start on the cluster: {why}")
        if served.leaving:
            return  # another has taken its place already
        self._say(f"a server of {self._choice.label} is lost, another is started: {why}")
