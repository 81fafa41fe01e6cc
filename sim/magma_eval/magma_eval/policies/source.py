"""The policy of each episode, made in a worker process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magma_eval.actions import END_EFFECTOR_DELTA, ActionType
from magma_eval.benchmarks import benchmark_of
from magma_eval.episodes import Episode
from magma_eval.policies.choice import PolicyChoice, scripted_names
from magma_eval.policies.interface import EpisodePolicy, PolicyFailedError, PolicyMismatchError
from magma_eval.policies.replay import ReplayPolicy
from magma_eval.policies.scripted import HoldPolicy, RandomPolicy
from magma_eval.policies.served import RemotePolicy
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import ResultsError
from magma_eval.results.run_folder import load
from magma_policy_client import PolicyClient, PolicyClientError
from magma_policy_client.addresses import open_policy
from magma_policy_client.foreign.foreign_client import ForeignClient


class PolicySource:
    """Makes the policy of each episode, in a worker process. Keeps the connection to a server between episodes.

    Args:
        choice: what to play.
        url: the policy server of a remote policy; token: what it was started with.
        identity: the content that a remote policy must have; None takes any.
    """

    def __init__(self, choice: PolicyChoice, url: str = "", token: str = "", identity: str | None = None) -> None:
        self._choice, self._url, self._token, self._identity = choice, url, token, identity
        self._clients: dict[str, PolicyClient | ForeignClient] = {}
        """by robot; "" is the policy's default one"""
        self._made: dict[int, Callable[[Episode, int], EpisodePolicy]] = {}
        """by benchmark, of those that load checkpoints themselves"""

    @property
    def needs_image(self) -> bool:
        """Whether the policy looks at images."""
        return self._choice.remote

    def for_episode(
        self, episode: Episode, robot: str, seed: int, action_type: ActionType[Any] = END_EFFECTOR_DELTA
    ) -> EpisodePolicy:
        """The policy of an episode.

        Args:
            episode: what is played.
            robot: the task's robot (`TaskSpec.robot`); a policy that does not know it by name acts as for its default
                one, and whether that fits is checked against the task.
            seed: of the run.
            action_type: of the episode's task.

        Raises:
            PolicyFailedError: the server cannot be reached, or there is no recorded episode.
            PolicyMismatchError: the server has another policy than the run began with.
        """
        kind = self._choice.kind
        if kind in scripted_names():
            return _scripted(kind, episode, seed)
        if kind == "replay":
            record = EpisodeRecord.read(self._recorded(episode), action_type)
            return ReplayPolicy(record, action_type=action_type)
        benchmark = benchmark_of(episode.make)
        if kind == "magma" and benchmark is not None and benchmark.checkpoints is not None:
            if id(benchmark) not in self._made:
                self._made[id(benchmark)] = benchmark.checkpoints(self._choice)
            return self._made[id(benchmark)](episode, seed)
        try:
            client = self._connected("")
            if robot in client.robots:
                client = self._connected(robot)
        except PolicyClientError as error:
            raise PolicyFailedError(f"{type(error).__name__}: {error}") from error
        return RemotePolicy(client, f"worker-{os.getpid()}", self._choice.deadline_s)

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _connected(self, robot: str) -> PolicyClient | ForeignClient:
        """The connection for a robot; kept from episode to episode."""
        if robot not in self._clients:
            client = open_policy(self._url, self._token or None, self._choice.deadline_s, robot)
            if self._identity is not None and client.identity != self._identity:
                client.close()
                raise PolicyMismatchError(
                    f"{self._url} serves {client.spec.policy} of content {client.identity[:12] or 'unknown'}, but this "
                    f"run began with content {self._identity[:12] or 'unknown'}: another policy behind one address, "
                    "whose results belong into another --out"
                )
            self._clients[robot] = client
        return self._clients[robot]

    def _recorded(self, episode: Episode) -> Path:
        path = Path(self._choice.argument)
        if path.is_file():
            return path
        wanted = (episode.suite, episode.task, episode.variant, episode.episode_id)
        try:
            for result in load(path).results:
                if result.record and result.key.start[:4] == wanted:
                    return path / result.record
        except ResultsError as error:
            raise PolicyFailedError(str(error)) from error
        raise PolicyFailedError(f"{path} holds no recorded episode {wanted}")


def _scripted(kind: str, episode: Episode, seed: int) -> EpisodePolicy:
    """A policy without a model: the benchmark's own of this name, else that of arms."""
    benchmark = benchmark_of(episode.make)
    if benchmark is not None and kind in benchmark.scripted:
        return benchmark.scripted[kind](episode, seed)
    if kind == "hold":
        return HoldPolicy()
    if kind == "random":
        return RandomPolicy(episode, seed)
    raise PolicyMismatchError(f"there is no scripted {kind} for {episode.make!r}")
