"""What plays leased episodes: a pool of workers.

The run's coordinator leases one episode at a time to an idle worker, owns the results, and decides what becomes of an
episode that failed; workers keep nothing that must not be lost.

Processes of this machine are one pool (`magma_eval.pools.processes`), workers on the machines of a Ray cluster another
(`magma_eval.pools.ray_pool`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from magma_eval.episodes import Episode
from magma_eval.policies.choice import PolicyChoice
from magma_eval.rollout.settings import RolloutSettings


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs before its first episode."""

    policy: PolicyChoice
    url: str
    """of the policy's server; "" without"""
    token: str
    identity: str
    """the content that a policy on a server must have"""
    factory: str
    """module:function that makes tasks"""
    environments: int
    """how many a worker keeps open"""
    folder: Path
    """where records are put"""
    facts_of: tuple[str, ...] = ()
    """tasks: the worker tells what on its machine decides how these go; empty: it is this machine, and tells nothing"""


@dataclass(frozen=True)
class Lease:
    """One episode for one worker."""

    episode: Episode
    settings: RolloutSettings
    seed: int
    record: str
    """file for what was done, relative to the folder of the set-up"""
    number: int = 0
    """of the lease; no two have the same"""


@dataclass(frozen=True)
class Ready:
    """A worker takes its first lease."""

    worker: int
    facts: Mapping[str, str] = field(default_factory=dict)
    """what on its machine decides how episodes go, where it was asked for that"""


@dataclass(frozen=True)
class Working:
    """A worker is alive."""

    worker: int
    doing: str


@dataclass(frozen=True)
class Finished:
    """A leased episode was played to its end and its record written."""

    worker: int
    result: Mapping[str, Any]
    """fields of `EpisodeResult`, as JSON values"""
    lease: int | None = None
    """its number; None: the one that the worker holds. A worker that was lost may answer late"""
    record: bytes | None = None
    """the record, of a worker that has another disk"""
    acknowledge: Callable[[], None] = lambda: None
    """to be called when the result is on the disk: the worker keeps its answer until then"""


@dataclass(frozen=True)
class Failed:
    """A leased episode could not be played; the worker is still there."""

    worker: int
    cause: str
    """setup: its environment could not be made. mismatch: the policy does not fit. policy: it could not be asked.
    simulator: something raised"""
    message: str


@dataclass(frozen=True)
class Lost:
    """A worker is gone, and what was leased to it is not going to be finished."""

    worker: int
    why: str
    started: bool
    """whether it was ever ready"""
    outside: bool = False
    """whether it was taken away, with its machine or from outside: then its episode has nothing to do with it"""


@dataclass(frozen=True)
class Refused:
    """A worker may not join: episodes would go another way on its machine. Its place is not tried again."""

    worker: int
    why: str


Event = Ready | Working | Finished | Failed | Lost | Refused


def setup_as_json(setup: WorkerSetup) -> dict[str, Any]:
    """A set-up as JSON values."""
    return {**dataclasses.asdict(setup), "folder": str(setup.folder)}


def setup_from(value: Mapping[str, Any]) -> WorkerSetup:
    """Inverse of `setup_as_json`; TypeError or ValueError when it is of another version."""
    fields = {**value, "policy": PolicyChoice(**value["policy"]), "folder": Path(value["folder"])}
    return WorkerSetup(**{**fields, "facts_of": tuple(value["facts_of"])})


def lease_as_json(lease: Lease) -> dict[str, Any]:
    """A lease as JSON values."""
    return {**dataclasses.asdict(lease), "episode": lease.episode.as_json()}


def lease_from(value: Mapping[str, Any]) -> Lease:
    """Inverse of `lease_as_json`; TypeError or ValueError when it is of another version."""
    episode, settings = Episode.from_json(value["episode"]), RolloutSettings(**value["settings"])
    return Lease(**{**value, "episode": episode, "settings": settings})


class WorkerPool(Protocol):
    """Workers by number. Not thread-safe: the coordinator owns it."""

    @property
    def workers(self) -> Mapping[int, str]:
        """Every worker that was started and is not lost, with what it is doing."""

    def start(self, worker: int, setup: WorkerSetup) -> None:
        """Starts a worker; `Ready`, `Lost` or `Refused` follows."""

    def lease(self, worker: int, lease: Lease) -> None:
        """Gives an idle worker an episode; `Finished`, `Failed` or `Lost` follows."""

    def drop(self, worker: int) -> None:
        """Ends a worker at once that is not to be trusted any more; no event follows. It may be lost already."""

    def events(self, timeout_s: float) -> list[Event]:
        """What happened since the last call; waits for something, but no longer than this."""

    def close(self, patience_s: float) -> None:
        """Ends every worker: those that are idle in good order within this time, the others at once."""
