"""Which server of a policy a worker asks, and what becomes of one that is lost; without a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from magma_eval.policies.choice import PolicyChoice
from magma_eval.pools.nodes import Node, roomiest
from magma_eval.pools.ray_cluster import RayError

pytest.importorskip("ray", reason="the extra `ray` of magma-eval is not installed")

from magma_eval.pools import ray_api, ray_policies


class Cluster:
    """Machines with servers on them, in place of Ray: an answer is there as soon as it is asked for."""

    def __init__(self) -> None:
        self.there = {name: Node(name, f"10.0.0.{name}", 4.0) for name in ("1", "2")}
        self.actors: list[Fake] = []
        self.identities = iter(())
        """of the servers that are started from now on; then "p" """

    def nodes(self) -> dict[str, Node]:
        return self.there

    def answered(self, asked: Sequence[Any], timeout_s: float) -> list[Any]:
        return list(asked)

    def answer(self, asked: tuple[Fake, str]) -> Any:
        actor, method = asked
        if actor.gone:
            raise ray_api.ActorLostError("the actor died")
        return actor.about if method == "about" else actor.runs


class Fake:
    def __init__(self, cluster: Cluster, cores: float, gpus: float) -> None:
        number = len(cluster.actors)
        node = sorted(cluster.there)[number % len(cluster.there)]
        identity = next(cluster.identities, "p")
        self.about = {"url": f"ws://{number}", "token": f"t{number}", "identity": identity, "node": node}
        self.cores, self.gpus, self.runs, self.gone, self.killed = cores, gpus, True, False, False
        cluster.actors.append(self)

    def ask(self, method: str) -> tuple[Fake, str]:
        return self, method

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    for name in ("nodes", "answered", "answer"):
        monkeypatch.setattr(ray_api, name, getattr(made, name))
    monkeypatch.setattr(ray_api, "wait_for_all", lambda asked, timeout_s: None)
    monkeypatch.setattr(ray_api, "Actor", lambda kind, *_, cores, gpus: Fake(made, cores, gpus))
    return made


@pytest.fixture
def checkpoint(tmp_path: Path) -> PolicyChoice:
    return PolicyChoice(str(tmp_path), threads=2)


def servers(choice: PolicyChoice, count: int, told: list[str], gpus: float = 0.0) -> ray_policies.RayPolicies:
    return ray_policies.RayPolicies(choice, count, gpus, timeout_s=5.0, loopback=False, say=told.append)


def test_a_worker_asks_its_own_machine_or_whom_the_fewest_ask(cluster: Cluster, checkpoint: PolicyChoice) -> None:
    policies = servers(checkpoint, 2, [])
    assert policies.identity == "p" and policies.cores("1") == 2.0 and policies.cores("3") == 0.0
    assert [policies.nearest("2") for _ in range(2)] == [("ws://1", "t1")] * 2
    assert policies.nearest("3") == ("ws://0", "t0"), "nobody asks it yet"
    assert policies.addresses == [("ws://0", "t0"), ("ws://1", "t1")]
    policies.close()
    assert all(actor.killed for actor in cluster.actors) and policies.nearest("1") is None
    assert servers(checkpoint, 1, [], gpus=0.5).cores("1") == 1.0 and cluster.actors[-1].gpus == 0.5


@pytest.mark.parametrize("how", ["the actor", "its server"])
def test_a_lost_server_is_replaced_by_one_of_the_same_content_alone(
    cluster: Cluster, checkpoint: PolicyChoice, how: str
) -> None:
    told: list[str] = []
    policies = servers(checkpoint, 1, told)
    assert policies.alive("ws://0")
    cluster.actors[0].gone, cluster.actors[0].runs = how == "the actor", how == "the actor"
    cluster.identities = iter(["another", "p"])
    assert not policies.alive("ws://0") and cluster.actors[0].killed and policies.nearest("1") is None
    for _ in range(4):
        policies.look()
    assert policies.nearest("1") == ("ws://2", "t2") and not policies.alive("ws://1")
    assert "is lost, another is started" in told[1] and "it is of content another, the run's is p" in told[2]


def test_a_machine_that_is_drained_gets_no_new_workers_and_its_server_goes_on_until_it_ends(
    cluster: Cluster, checkpoint: PolicyChoice
) -> None:
    told: list[str] = []
    policies = servers(checkpoint, 2, told)
    cluster.there["2"] = Node("2", "10.0.0.2", 4.0, draining=True)
    policies.look()
    policies.look()
    assert policies.alive("ws://1") and len(cluster.actors) == 3 and "being drained" in told[1]
    assert policies.nearest("2") in (("ws://0", "t0"), ("ws://2", "t2"))
    cluster.actors[1].gone = True
    policies.look()
    assert len(cluster.actors) == 3 and len(told) == 2, "another has taken its place already"


def test_servers_that_never_start_end_the_command(cluster: Cluster, checkpoint: PolicyChoice) -> None:
    policies = servers(checkpoint, 1, [])
    cluster.actors[0].gone = True
    cluster.identities = iter(["another"] * 9)
    with pytest.raises(RayError, match=r"do not start on the cluster: node .* has another policy in its place"):
        for _ in range(20):
            policies.look()
    with pytest.raises(RayError, match=r"0 of 1 servers of .* were ready after 0 s: each needs 2 cores"):
        ray_policies.RayPolicies(checkpoint, 1, 0.0, timeout_s=0.0, loopback=True, say=lambda _: None)


def test_a_worker_goes_where_most_cores_are_free() -> None:
    nodes = {"a": Node("a", "", 4.0), "b": Node("b", "", 2.0), "c": Node("c", "", 9.0, draining=True)}
    assert roomiest(nodes, {}) == "a" and roomiest(nodes, {"a": 3.0}) == "b" and roomiest(nodes, {}, {"a"}) == "b"
    assert roomiest(nodes, {"a": 3.5, "b": 1.5}) is None and roomiest({}, {}) is None
