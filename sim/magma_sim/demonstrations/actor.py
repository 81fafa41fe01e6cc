"""The policy that acts while the expert only says what it would do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from magma_eval.actions import as_rows, hold_action
from magma_eval.episodes import Episode
from magma_eval.policies.choice import PolicyChoice
from magma_eval.policies.interface import EpisodePolicy
from magma_eval.policies.served import start_server
from magma_eval.policies.source import PolicySource
from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.tasks.interface import Observation, TaskSpec

_SERVER_START_S = 180.0


class Actor:
    """The policy that acts, one action a step, through all episodes of this process."""

    def __init__(self, choice: PolicyChoice, url: str, token: str) -> None:
        self._source = PolicySource(choice, url, token)
        self._policy: EpisodePolicy | None = None
        self._rows: list[NDArray[np.float64]] = []

    def begin(self, spec: TaskSpec, seed: int) -> None:
        """Begins an episode. Raises PolicyFailedError or PolicyMismatchError."""
        episode = Episode(spec.suite, spec.task, "random", seed, spec.task, seed, reset_variant="random")
        self._policy = self._source.for_episode(episode, spec.robot, seed)
        self._policy.spec.check_fits(spec)
        self._policy.reset(spec.instruction)
        self._rows = []

    def act(self, observation: Observation) -> NDArray[np.float64]:
        """EndEffectorDelta (7,). Raises PolicyFailedError."""
        assert self._policy is not None, "begin first"
        if not self._rows:
            actions = self._policy.act(observation)
            self._rows = list(as_rows(hold_action(observation) if actions is None else actions))
        return self._rows.pop(0)


@contextmanager
def actor_server(config: DemonstrationConfig) -> Iterator[tuple[PolicyChoice | None, str, str]]:
    """The actor with the address and token of its server, which runs for as long; None and two times "" without."""
    if config.actor is None:
        yield None, "", ""
        return
    choice = PolicyChoice(config.actor)
    if choice.kind != "magma":
        yield choice, choice.text, choice.token
        return
    server = start_server(choice, config.out / "policy-server.log", _SERVER_START_S)
    try:
        yield choice, server.url, server.token
    finally:
        server.close()
