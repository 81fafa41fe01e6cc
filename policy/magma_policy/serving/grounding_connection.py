"""The side of a server where questions to a model that points come in."""

from __future__ import annotations

import asyncio
import time
import typing

from websockets.asyncio.server import ServerConnection

from magma_policy.serving.batching import Batcher, LateError
from magma_policy.serving.front import Limits, ModelServer, Visitor, send
from magma_policy.serving.metrics import Metrics
from magma_policy_client import ProtocolError
from magma_policy_client import grounding_messages as messages
from magma_policy_client.codec import peek_type
from magma_policy_client.messages import TYPES as POLICY_TYPES


class GroundingServer(ModelServer):
    """Serves one model that points to many clients."""

    def __init__(
        self,
        batcher: Batcher,
        metrics: Metrics,
        limits: Limits,
        token: str | None,
        model: str,
        identity: str,
    ) -> None:
        """`batcher` answers `grounding_messages` questions with their answers; `model` is a name, `identity` a hash."""
        super().__init__(batcher, metrics, limits, token, model, identity, messages.GROUNDING_VERSION)

    async def greet(self, connection: ServerConnection, hello: bytes) -> GroundingVisitor | None:
        if peek_type(hello) in POLICY_TYPES:
            text = f"{self.model} points and does not act; a policy has a magma-serve of its own"
            await self.turn_away(connection, "robot", text)
            return None
        if not await self.speaks(connection, messages.peek_version(hello), messages.GROUNDING_VERSION):
            return None
        if not isinstance(messages.decode(hello), messages.GroundingHello):
            raise ProtocolError("the first message must be a hello")
        limit = self._limits.max_message_bytes
        welcome = messages.GroundingWelcome(
            messages.GROUNDING_VERSION, "magma-serve", self.model, limit, self._identity
        )
        await send(connection, messages.encode(welcome))
        return GroundingVisitor(connection, self._batcher, self._metrics)


class GroundingVisitor(Visitor):
    """One connection. A newer question of it takes the place of one that still waits."""

    refusals = (ValueError,)
    served = "the model"

    async def take(self, data: bytes) -> None:
        question = messages.decode(data)
        if not isinstance(question, typing.get_args(messages.Question)):
            raise ProtocolError(f"a client may send questions, got {type(question).__name__}")
        deadline_s = time.monotonic() + question.budget_s
        await self.begin(question.sequence, lambda: self._answer(question, deadline_s))

    def forget(self) -> None:
        """The client is gone: its questions are not worth a call of the model."""
        self._batcher.forget(id(self))
        super().forget()

    async def _answer(self, question: messages.Question, deadline_s: float) -> None:
        answer = await asyncio.wrap_future(self._batcher.submit(id(self), question, deadline_s))
        if time.monotonic() > deadline_s:
            raise LateError(f"the answer was ready {(time.monotonic() - deadline_s) * 1e3:.0f} ms too late")
        self._metrics.answered(answer.queue_ms, {})
        await send(self._connection, messages.encode(answer.result))
