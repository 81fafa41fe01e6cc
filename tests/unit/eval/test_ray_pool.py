"""What a pool of workers on a cluster tells of machines that differ, go, fall silent or lose their policy; without a
cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from magma_eval.episodes import Episode
from magma_eval.policies.choice import PolicyChoice
from magma_eval.pools.admission import Admission
from magma_eval.pools.nodes import Node
from magma_eval.pools.protocol import Event, Failed, Finished, Lease, Lost, Ready, Refused, WorkerSetup
from magma_eval.rollout.settings import RolloutSettings

pytest.importorskip("ray", reason="the extra `ray` of magma-eval is not installed")

from magma_eval.pools import ray_api, ray_pool

FACTS = {"code": "c"}
PLAYED = {"kind": "finished", "result": {"steps": 8}, "record": b"r"}


class Cluster:
    """Machines with workers on them, in place of Ray. What a worker answers, and when, a test says."""

    def __init__(self) -> None:
        self.there = {"1": Node("1", "10.0.0.1", 1.0), "2": Node("2", "10.0.0.2", 1.0)}
        self.actors: list[Fake] = []
        self.facts: dict[str, Any] = {"1": FACTS, "2": FACTS}

    def nodes(self) -> dict[str, Node]:
        return self.there

    def answered(self, asked: Sequence[Any], timeout_s: float) -> list[Any]:
        return [one for one in asked if one.answer is not None]

    def answer(self, asked: Asked) -> Any:
        if isinstance(asked.answer, Exception):
            raise asked.answer
        return asked.answer


class Asked:
    def __init__(self, method: str, arguments: tuple[Any, ...], answer: Any) -> None:
        self.method, self.arguments, self.answer = method, arguments, answer


class Fake:
    def __init__(self, cluster: Cluster, node: str) -> None:
        self.node, self.killed = node, False
        self.asked: list[Asked] = []
        self._ready = {"about": cluster.facts[node], "set_up": {"kind": "ready", "facts": {}}}
        cluster.actors.append(self)

    def ask(self, method: str, *arguments: Any) -> Asked:
        self.asked.append(Asked(method, arguments, self._ready.get(method)))
        return self.asked[-1]

    def kill(self) -> None:
        self.killed = True

    def last(self, method: str) -> Asked:
        return [asked for asked in self.asked if asked.method == method][-1]


class Policies:
    """Two servers, of which the second is asked only while the first is gone."""

    gone = False

    def nearest(self, node: str) -> tuple[str, str] | None:
        return ("ws://second" if self.gone else "ws://first"), "secret"

    def look(self) -> None: ...

    def alive(self, url: str) -> bool:
        return not (self.gone and url == "ws://first")

    def cores(self, node: str) -> float:
        return 0.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    for name in ("nodes", "answered", "answer"):
        monkeypatch.setattr(ray_api, name, getattr(made, name))
    monkeypatch.setattr(ray_api, "wait_for_all", lambda asked, timeout_s: None)
    monkeypatch.setattr(ray_api, "Actor", lambda kind, *_, node, beside: Fake(made, node))
    monkeypatch.setattr(ray_pool, "_LOOK_S", 0.0)
    return made


@pytest.fixture
def pool(cluster: Cluster) -> Callable[..., ray_pool.RayPool]:
    def make(told: list[str] | None = None, policies: Policies | None = None, step_timeout_s: float = 60.0) -> Any:
        say = (told if told is not None else []).append
        limits = {"start_timeout_s": 60.0, "step_timeout_s": step_timeout_s}
        return ray_pool.RayPool(Admission(dict(FACTS)), ("reach",), **limits, say=say, policies=policies)

    return make


SETUP = WorkerSetup(PolicyChoice("hold"), "", "", "", "a:b", 1, Path("/nowhere"))


def lease(number: int) -> Lease:
    episode = Episode("s", "reach", "v", number, make="reach", layout=number)
    return Lease(episode, RolloutSettings(), 0, f"{number}.npz", number)


def some(pool: ray_pool.RayPool, wanted: type[Event], count: int) -> list[Any]:
    """So many such events; others are passed over."""
    found: list[Any] = []
    for _ in range(12):
        found += [event for event in pool.events(0.0) if isinstance(event, wanted)]
        if len(found) >= count:
            return found
    raise AssertionError(f"{len(found)} {wanted.__name__} were told")


def heard(pool: ray_pool.RayPool, wanted: type[Event]) -> Any:
    return some(pool, wanted, 1)[0]


def test_workers_are_spread_and_one_without_a_core_waits_and_says_so(cluster, pool):
    told: list[str] = []
    made = pool(told)
    for worker in range(3):
        made.start(worker, SETUP)
    assert [event.worker for event in some(made, Ready, 2)] == [0, 1]
    assert [actor.node for actor in cluster.actors] == ["1", "2"]
    assert told == ["1 of 3 workers wait for a free core: give fewer --workers, or the cluster more nodes"]
    cluster.there["3"] = Node("3", "10.0.0.3", 4.0)
    cluster.facts["3"] = FACTS
    assert heard(made, Ready).worker == 2


def test_a_machine_that_differs_is_refused_once_and_when_all_do_the_worker_counts_as_lost(cluster, pool):
    cluster.facts["1"] = {"code": "other"}
    made = pool()
    made.start(0, SETUP)
    refused = heard(made, Refused)
    assert "node 10.0.0.1 (1)" in refused.why and "its code that plays episodes is other, the run's is c" in refused.why
    made.start(0, SETUP)
    assert heard(made, Ready).worker == 0 and cluster.actors[-1].node == "2"
    del cluster.there["2"]
    made.drop(0)
    made.start(0, SETUP)
    assert heard(made, Lost).why == refused.why


def test_an_answer_is_kept_by_the_worker_until_it_is_acknowledged(cluster, pool):
    made = pool()
    made.start(0, SETUP)
    heard(made, Ready)
    made.lease(0, lease(7))
    cluster.actors[0].last("play").answer = PLAYED
    finished = heard(made, Finished)
    assert (finished.worker, finished.lease, finished.record) == (0, 7, b"r")
    assert not any(asked.method == "acknowledge" for asked in cluster.actors[0].asked)
    finished.acknowledge()
    assert cluster.actors[0].last("acknowledge").arguments == (7,)


def test_one_that_cannot_be_reached_is_asked_again_for_the_same_episode(cluster, pool):
    made = pool()
    made.start(0, SETUP)
    heard(made, Ready)
    made.lease(0, lease(7))
    cluster.actors[0].last("play").answer = ray_api.ActorUnreachableError("no route")
    made.events(0.0)
    made.events(0.0)
    asked = [one for one in cluster.actors[0].asked if one.method == "play"]
    assert len(asked) == 2 and asked[0].arguments == asked[1].arguments
    asked[1].answer = PLAYED
    assert heard(made, Finished).lease == 7


@pytest.mark.parametrize("method", ["play", "set_up"])
def test_a_worker_that_is_gone_is_lost_by_no_fault_of_its_episode(cluster, pool, method):
    made = pool()
    made.start(0, SETUP)
    heard(made, Ready)
    if method == "play":
        made.lease(0, lease(7))
        cluster.actors[0].last("play").answer = ray_api.ActorLostError("the node died")
        lost = heard(made, Lost)
        assert lost.outside and lost.started and "the worker on node 10.0.0.1 (1) is gone: the node died" in lost.why
    else:
        made.drop(0)
        cluster.facts["1"] = ray_api.ActorRaisedError("no module named magma_sim", None)
        made.start(0, SETUP)
        assert "cannot hold a worker: no module named magma_sim" in heard(made, Refused).why


def test_a_silent_machine_loses_its_episode_and_its_late_answer_counts(cluster, pool):
    made = pool(step_timeout_s=0.0)
    made.start(0, SETUP)
    heard(made, Ready)
    made.lease(0, lease(7))
    lost = heard(made, Lost)
    assert lost.outside and "nothing was heard of node 10.0.0.1 (1) for 0 s" in lost.why
    cluster.actors[0].last("play").answer = PLAYED
    late = heard(made, Finished)
    assert (late.worker, late.lease) == (-1, 7)


def test_a_worker_leaves_a_machine_that_is_drained_after_its_episode(cluster, pool):
    made = pool()
    made.start(0, SETUP)
    made.start(1, SETUP)
    some(made, Ready, 2)
    made.lease(0, lease(7))
    cluster.there = {name: Node(name, node.address, 1.0, draining=True) for name, node in cluster.there.items()}
    cluster.there["3"] = Node("3", "10.0.0.3", 1.0)
    cluster.facts["3"] = FACTS
    lost = heard(made, Lost)
    assert lost.worker == 1 and lost.outside and "is being drained" in lost.why
    assert not cluster.actors[0].killed
    cluster.actors[0].last("play").answer = PLAYED
    events = made.events(0.0)
    assert [type(event) for event in events] == [Finished, Lost] and cluster.actors[0].killed
    made.start(0, SETUP)
    assert heard(made, Ready).worker == 0 and cluster.actors[-1].node == "3"


def test_a_worker_whose_policy_is_gone_is_bound_to_another_and_its_episode_is_not_blamed(cluster, pool):
    policies = Policies()
    made = pool(policies=policies)
    made.start(0, SETUP)
    heard(made, Ready)
    assert cluster.actors[0].last("set_up").arguments[0]["url"] == "ws://first"
    broken = {"kind": "failed", "cause": "policy", "message": "closed"}
    made.lease(0, lease(7))
    cluster.actors[0].last("play").answer = broken
    assert heard(made, Failed).cause == "policy", "it is there: the answer was at fault"
    made.lease(0, lease(8))
    policies.gone = True
    cluster.actors[0].last("play").answer = broken
    lost = heard(made, Lost)
    assert lost.outside and lost.why == "its policy is gone: closed"
    made.start(0, SETUP)
    heard(made, Ready)
    assert cluster.actors[1].last("set_up").arguments[0]["url"] == "ws://second"
