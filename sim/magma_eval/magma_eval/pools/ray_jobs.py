"""Jobs of any kind on a Ray cluster: demonstrations, records of pictures, episodes to be converted.

As with episodes, whoever asks owns what comes: a job is handed to one worker at a time, its result is kept by the one
that asked, and a job whose worker is lost goes to another. Workers see no disk but their own. A machine that would work
in another way than the others is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from magma_eval.pools import ray_cluster
from magma_eval.pools.admission import Admission


class Work(Protocol):
    """What workers do. It goes to them as Ray sends things, inside of the cluster; its class is found by its name."""

    def facts(self) -> Mapping[str, str]:
        """What on this machine decides how jobs come out."""

    def begin(self) -> None:
        """Before the first job."""

    def do(self, job: Any) -> Any:
        """A job's result."""


def on_cluster(
    address: str | None,
    workers: int,
    work: Work,
    jobs: Sequence[Any],
    say: Callable[[str], None],
    known: Mapping[str, str] | None = None,
) -> Iterator[tuple[int, Any]]:
    """Number and result of every job, as they are done. Jobs are handed out while results are asked for.

    Args:
        address: HOST:PORT or auto of a cluster; "" starts one of this machine.
        workers: that work side by side, on a core each.
        work: what they do.
        jobs: what of.
        say: told what a person should know.
        known: facts that every machine must have; of others, the first worker's count.

    Raises:
        RayError: there is no cluster, every machine would work in another way, or one job loses every worker.
        Whatever a job raises.
    """
    if not jobs:
        return
    with ray_cluster.cluster(address or None, max(len(os.sched_getaffinity(0)), workers), say):
        # It needs Ray, which is known to be here now.
        from magma_eval.pools.ray_foreman import Foreman

        foreman = Foreman(min(workers, len(jobs)), work, jobs, Admission(known or {}), say)
        try:
            yield from foreman.results()
        finally:
            foreman.close()
