"""Shards worked off on the machines of a Ray cluster: their output comes back as files, which are written here."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from magma_eval.pools.ray_cluster import RayError
from magma_eval.pools.ray_jobs import on_cluster
from magma_eval.version import folders_digest
from magma_policy.errors import CommandError
from magma_policy.files.whole_files import whole_file
from magma_policy.grit.pairs import Shard, shards_of
from magma_policy.grit.run import COUNTS, GritRun, Worker, missing
from magma_policy_client.content import digest_of


class ShardWork:
    """Working off shards on one machine; see `magma_eval.pools.ray_jobs.Work`.

    Args:
        config: the run; its sources lie on every machine, its output is not written to.
    """

    def __init__(self, config: GritRun) -> None:
        pictures = None if config.pictures is None else config.pictures.resolve()
        sources = tuple(source.resolve() for source in config.sources)
        self._config = dataclasses.replace(config, sources=sources, pictures=pictures)

    def facts(self) -> dict[str, str]:
        # Parser, detector and sources by their content.
        card = {name: str(value) for name, value in self._config.card(shards_of(self._config.sources)).items()}
        code = folders_digest([Path(__file__).parents[1]])
        return {"run": digest_of(card), "code that makes records": code, "version of numpy": np.__version__}

    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="magma-grit-")
        config = dataclasses.replace(self._config, out=Path(self._folder.name))
        self._worker = Worker(config, shards_of(config.sources))

    def do(self, job: int) -> dict[str, bytes]:
        """The files of a shard's output by their path in it."""
        self._worker.shard(job)
        found = {}
        for path in sorted(Path(self._folder.name).rglob("*")):
            if path.is_file():
                found[path.relative_to(self._folder.name).as_posix()] = path.read_bytes()
                path.unlink()
        return found


def work_off(config: GritRun, shards: Sequence[Shard], workers: int, told: Any, address: str) -> None:
    """Has the shards that are missing worked off on a cluster. Raises CommandError."""
    left = missing(config, len(shards))
    done = len(shards) - len(left)
    told(done, len(shards))
    try:
        work = ShardWork(config)
        for _, files in on_cluster(address, workers, work, left, tqdm.write, work.facts()):
            # The counts last: with them a shard's output is whole.
            for name in sorted(files, key=lambda name: name.startswith(f"{COUNTS}/")):
                with whole_file(config.out / name) as partial:
                    partial.write_bytes(files[name])
            done += 1
            told(done, len(shards))
    except RayError as error:
        raise CommandError(str(error)) from error
