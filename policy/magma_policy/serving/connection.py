"""A policy's side of its server: robots ask for actions, each in sessions of its own."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any, Protocol

from websockets.asyncio.server import ServerConnection

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import ArmState
from magma_policy.errors import InstructionError, ObservationError
from magma_policy.serving import vla_eval_connection
from magma_policy.serving.batching import Batcher, LateError, OverloadedError
from magma_policy.serving.front import Limits, ModelServer, Visitor, send
from magma_policy.serving.metrics import Metrics
from magma_policy_client import ProtocolError, grounding_messages, messages
from magma_policy_client.codec import peek_type

MAX_SESSIONS = 64
"""Sessions per connection."""


class ServedPolicy(Protocol):
    """What the server needs of a policy besides `act_batch`."""

    def new_session(self, robot: str) -> Any: ...
    def request(self, image: Any, instruction: str, proprioception: ArmState | None, session: Any) -> Any: ...


class PolicyServer(ModelServer):
    """Serves one policy to many clients."""

    def __init__(
        self,
        policy: ServedPolicy,
        specs: Mapping[str, ActionSpec],
        batcher: Batcher,
        metrics: Metrics,
        limits: Limits,
        token: str | None,
        name: str,
        identity: str = "",
    ) -> None:
        """`specs` by robot has the default robot under ""; `identity` is the policy's."""
        super().__init__(batcher, metrics, limits, token, specs[""].policy, identity, messages.PROTOCOL_VERSION)
        self._policy = policy
        self._specs = specs
        self._name = name

    async def greet(self, connection: ServerConnection, hello: bytes) -> Visitor | None:
        if vla_eval_connection.is_harness(hello):
            visitor = vla_eval_connection.VlaEvalVisitor(
                connection, self._policy, self._specs[""], self._batcher, self._metrics, self._identity, self._name
            )
            await visitor.greet(hello)
            return visitor
        if peek_type(hello) == grounding_messages.HELLO:
            text = f"{self._specs[''].policy} acts and does not point; a model that points has a magma-serve of its own"
            await self.turn_away(connection, "robot", text)
            return None
        if not await self.speaks(connection, messages.peek_version(hello), messages.PROTOCOL_VERSION):
            return None
        said = messages.decode(hello)
        if not isinstance(said, messages.Hello):
            raise ProtocolError("the first message must be a hello")
        others = tuple(name for name in self._specs if name)
        if said.robot not in self._specs:
            text = f"no robot {said.robot[:100]!r} here, only {', '.join(others) or 'the default one'}"
            await self.turn_away(connection, "robot", text)
            return None
        spec, limit = self._specs[said.robot], self._limits.max_message_bytes
        welcome = messages.Welcome(messages.PROTOCOL_VERSION, self._name, spec, others, limit, self._identity)
        await send(connection, messages.encode(welcome))
        return Client(connection, self._policy, said.robot, self._batcher, self._metrics)


class Client(Visitor):
    """One connection with its sessions."""

    refusals = (ObservationError, InstructionError)
    served = "policy"

    def __init__(
        self, connection: ServerConnection, policy: ServedPolicy, robot: str, batcher: Batcher, metrics: Metrics
    ) -> None:
        super().__init__(connection, batcher, metrics)
        self._policy = policy
        self._robot = robot
        self._sessions: dict[str, Any] = {}

    async def take(self, data: bytes) -> None:
        message = messages.decode(data)
        if isinstance(message, messages.Reset):
            await self._reset(message)
        elif isinstance(message, messages.Act):
            deadline_s = time.monotonic() + message.budget_s
            await self.begin(message.sequence, lambda: self._act(message, deadline_s))
        else:
            raise ProtocolError(f"a client may send act and reset, got {type(message).__name__}")

    def forget(self) -> None:
        """The client is gone: its requests are not worth a call of the model."""
        for name in self._sessions:
            self._batcher.forget((id(self), name))
        super().forget()

    async def _reset(self, message: messages.Reset) -> None:
        if message.session not in self._sessions and len(self._sessions) >= MAX_SESSIONS:
            text = f"this connection has {MAX_SESSIONS} sessions already"
            await self.refuse(message.sequence, "overloaded", text)
            return
        # A new object, not a cleared one: a call under way may still hold the old.
        self._sessions[message.session] = self._policy.new_session(self._robot)
        await send(self._connection, messages.encode(messages.Done(message.sequence)))

    async def _act(self, message: messages.Act, deadline_s: float) -> None:
        if message.session not in self._sessions:
            if len(self._sessions) >= MAX_SESSIONS:
                raise OverloadedError(f"this connection has {MAX_SESSIONS} sessions already")
            self._sessions[message.session] = self._policy.new_session(self._robot)
        request = self._policy.request(
            message.image, message.instruction, message.proprioception, self._sessions[message.session]
        )
        future = self._batcher.submit((id(self), message.session), request, deadline_s)
        answer = await asyncio.wrap_future(future)
        if time.monotonic() > deadline_s:
            raise LateError(f"the action was ready {(time.monotonic() - deadline_s) * 1e3:.0f} ms too late")
        result = answer.result
        stages = {name: float(value) for name, value in result.stage_ms.items() if math.isfinite(value)}
        self._metrics.answered(answer.queue_ms, stages)
        reply = messages.Result(
            message.sequence, result.deltas, {"queue": answer.queue_ms, **stages}, getattr(result, "marks", None)
        )
        await send(self._connection, messages.encode(reply))
