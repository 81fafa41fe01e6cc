"""What plays leased episodes: a pool of workers.

The run's coordinator leases one episode at a time to an idle worker, owns the results, and decides what becomes of an
episode that failed; workers keep nothing that must not be lost.

Processes of this machine are one pool (`magma_eval.pools.processes`); workers elsewhere would be another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Lease:
    """One episode for one worker."""

    episode: Episode
    settings: RolloutSettings
    seed: int
    record: str
    """file for what was done, relative to the folder of the set-up"""


@dataclass(frozen=True)
class Ready:
    """A worker takes its first lease."""

    worker: int


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


Event = Ready | Working | Finished | Failed | Lost


class WorkerPool(Protocol):
    """Workers by number. Not thread-safe: the coordinator owns it."""

    @property
    def workers(self) -> Mapping[int, str]:
        """Every worker that was started and is not lost, with what it is doing."""

    def start(self, worker: int, setup: WorkerSetup) -> None:
        """Starts a worker; `Ready` or `Lost` follows."""

    def lease(self, worker: int, lease: Lease) -> None:
        """Gives an idle worker an episode; `Finished`, `Failed` or `Lost` follows."""

    def drop(self, worker: int) -> None:
        """Ends a worker at once that is not to be trusted any more; no event follows. It may be lost already."""

    def events(self, timeout_s: float) -> list[Event]:
        """What happened since the last call; waits for something, but no longer than this."""

    def close(self, patience_s: float) -> None:
        """Ends every worker: those that are idle in good order within this time, the others at once."""
