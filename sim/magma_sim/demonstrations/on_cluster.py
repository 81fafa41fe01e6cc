"""Demonstrations made on the machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from magma_eval.policies.choice import PolicyChoice
from magma_eval.pools.admission import code_facts, machine_facts
from magma_eval.pools.ray_jobs import on_cluster
from magma_eval.ray_option import address_of
from magma_eval.run.plan import DEFAULT_FACTORY
from magma_eval.run.progress import say
from magma_eval.version import folders_digest
from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.demonstrations.generation import prepare_worker, record


@dataclass(frozen=True)
class Recording:
    """Playing episodes on one machine; see `magma_eval.pools.ray_jobs.Work`."""

    config: DemonstrationConfig
    choice: PolicyChoice | None
    url: str
    token: str

    def facts(self) -> dict[str, str]:
        tasks, images = self.config.tasks, self.config.images
        # Of the actor's content its server tells, and the settings of the set.
        return {**self.code(), **machine_facts(tasks, images, PolicyChoice("hold"), served=True)}

    def code(self) -> dict[str, str]:
        """Of these facts those that are known without a simulator."""
        own = {"code that records": folders_digest([Path(__file__).parent])}
        return {**own, **code_facts(self.config.tasks, DEFAULT_FACTORY)}

    def begin(self) -> None:
        prepare_worker(self.choice, self.url, self.token)

    def do(self, job: tuple[str, int]) -> dict[str, NDArray[Any]]:
        return record((self.config, *job))[2]


def recorded(
    config: DemonstrationConfig, jobs: Sequence[tuple[str, int]], actor: tuple[PolicyChoice | None, str, str]
) -> Iterator[tuple[str, int, dict[str, NDArray[Any]]]]:
    """Task, seed and arrays of every job, as they are done.

    Args:
        config: what is made.
        jobs: task and seed of each episode.
        actor: the policy that acts, the address and the token of its server.

    Raises:
        RayError: there is no cluster, or no machine of it works as this one would.
    """
    work = Recording(config, *actor)
    for number, arrays in on_cluster(address_of(config.ray), config.workers, work, jobs, say, work.code()):
        yield (*jobs[number], arrays)
