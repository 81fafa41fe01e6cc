"""A server of a model that only talks: the chat endpoint, and a word to whoever expects a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection

from magma_policy.families.interface import LoadedPolicy
from magma_policy.serving.front import ModelServer, Visitor

SIDE = 64
"""Pixels of the picture that the first, slow call is about."""


class ServedText:
    """A loaded checkpoint that was given no robot."""

    def __init__(self, policy: LoadedPolicy, name: str) -> None:
        self.policy = policy
        self.name = name
        """what the model is called"""

    @property
    def identity(self) -> str:
        """The model's content (a hash)."""
        return str(self.policy.identity)

    def act_batch(self, requests: Sequence[Any]) -> list[Any]:
        """Nobody is let in who could ask for actions."""
        raise RuntimeError(
            f"{self.name} was loaded without a robot, so it can only talk; {len(requests)} actions asked"
        )

    def warm_up(self) -> None:
        """Makes the first, slow call."""
        self.policy.chat("What is this?", [np.full((SIDE, SIDE, 3), 128, np.uint8)])


class TextServer(ModelServer):
    """Serves the chat endpoint alone."""

    async def greet(self, connection: ServerConnection, hello: bytes) -> Visitor | None:
        text = (
            f"{self.model} was loaded without a robot, so it only talks (/v1/chat/completions); "
            "name one with magma-serve --robot"
        )
        await self.turn_away(connection, "robot", text)
        return None
