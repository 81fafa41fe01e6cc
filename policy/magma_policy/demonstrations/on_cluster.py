"""Episodes of a set read and decoded on the machines of a Ray cluster, to be converted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

import magma_data
from magma_eval.pools.ray_cluster import RayError
from magma_eval.pools.ray_jobs import on_cluster
from magma_eval.version import folders_digest
from magma_policy.demonstrations.converting import read_whole
from magma_policy.demonstrations.mapping import Mapping
from magma_policy.demonstrations.sources import DemonstrationSet, open_set
from magma_policy.errors import CommandError


class ReadingWork:
    """Reading episodes on one machine; see `magma_eval.pools.ray_jobs.Work`.

    Args:
        directory: of the set, on every machine.
        mappings: for sets that are not of this project.
    """

    def __init__(self, directory: Path, mappings: Sequence[Mapping]) -> None:
        self._directory, self._mappings = directory.resolve(), list(mappings)

    def facts(self) -> dict[str, str]:
        return {
            "set": folders_digest([self._directory]),
            "code that reads sets": folders_digest([Path(__file__).parent, Path(magma_data.__file__).parent]),
        }

    def begin(self) -> None:
        self._opened = open_set(self._directory, self._mappings)

    def do(self, job: int) -> dict[str, Any]:
        """The arrays of an episode."""
        return read_whole(self._opened, job)


def read_on_cluster(
    opened: DemonstrationSet, mappings: Sequence[Mapping], workers: int, address: str
) -> Iterator[dict[str, Any]]:
    """What `read_whole` gives for each episode, in order. Raises CommandError, or what reading raises."""
    early: dict[int, dict[str, Any]] = {}
    following = 0
    work = ReadingWork(opened.directory, mappings)
    try:
        for number, arrays in on_cluster(address, workers, work, range(len(opened.episodes)), tqdm.write, work.facts()):
            early[number] = arrays
            while following in early:
                yield early.pop(following)
                following += 1
    except RayError as error:
        raise CommandError(str(error)) from error
