"""A policy on another machine, as if it were here: `PolicyClient("ws://gpu-box:8765", token).act(...)`."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import ArmState
from magma_policy_client import messages
from magma_policy_client.connected_client import DEFAULT_TIMEOUT_S, check_seconds, time_left
from magma_policy_client.errors import (
    ConnectionLostError,
    PolicyChangedError,
    ProtocolError,
    RefusedError,
    ServerError,
    SpecChangedError,
)
from magma_policy_client.messages import Result
from magma_policy_client.model_client import CLIENT_NAME, ModelClient


class PolicyClient(ModelClient):
    """Connection to a policy server; see `ModelClient`. When it had to connect again, state that the server kept for
    this client's sessions is gone, as after `reset`."""

    def __init__(
        self, url: str, token: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S, robot: str = ""
    ) -> None:
        """
        Args:
            url: `ws://host:port` or `wss://host:port`.
            token: what the server was started with, if anything.
            timeout_s: deadline for connecting, and for calls that name none.
            robot: which of the server's robots acts; "" is its default one. An unknown one is a RefusedError with the
                code "robot".

        Raises:
            ValueError: the URL or timeout makes no sense.
            PolicyClientError: see the kinds in `magma_policy_client.errors`.
        """
        self._robot = robot
        self._robots: tuple[str, ...] = ()
        self._session = "default"
        self._spec: ActionSpec | None = None
        self._identity = ""
        super().__init__(url, token, timeout_s)

    @property
    def spec(self) -> ActionSpec:
        """What the server's policy needs and returns for this client's robot."""
        if self._spec is None:
            raise ConnectionLostError(f"never connected to {self._url}")
        return self._spec

    @property
    def identity(self) -> str:
        """The policy's content as hexadecimal digits; "" from a server that does not know it. It is the same as long as
        this client lives: a server that comes back with another one is refused."""
        return self._identity

    @property
    def robots(self) -> tuple[str, ...]:
        """Names of the robots that the server knows besides its default one."""
        return self._robots

    def reset(self, session: str = "default", timeout_s: float | None = None) -> None:
        """Begins an episode: the server forgets the last one of this session, and `act` works in this session from now.

        Several robots or episodes may share a connection under different names. `timeout_s` None means the client's
        own. Raises a PolicyClientError when it is not certain that the server knows; reset again before acting then.
        """

        async def work(deadline_s: float) -> None:
            connection = await self._connected()
            answer = await self._ask(connection, messages.Reset(self._next(), session))
            if not isinstance(answer, messages.Done):
                raise ServerError(f"{self._url} answered a reset with {type(answer).__name__}")
            self._session = session

        self._call(work, self._timeout_s if timeout_s is None else check_seconds(timeout_s, "timeout_s"))

    def act(
        self,
        image: np.ndarray,
        instruction: str,
        proprioception: Any,
        deadline_s: float | None = None,
    ) -> Result:
        """One action chunk for a picture uint8 (H, W, 3) rgb of the spec's size.

        Args:
            image: the picture.
            instruction: what to do.
            proprioception: an `ArmState`, or any object with its attributes, if the spec asks for it; else it may be
                None.
            deadline_s: seconds from now in which the answer must be here; None means the client's `timeout_s`.

        Raises:
            PolicyTimeoutError: no answer in time.
            RefusedError: the policy cannot act on this; `.code` is "observation" then.
            ConnectionLostError, ServerError, ProtocolError, VersionMismatchError, SpecChangedError: see there.
        """
        state = None
        if proprioception is not None:
            try:
                state = ArmState.of(proprioception)
            except (AttributeError, TypeError, ValueError) as error:
                raise RefusedError("observation", f"not a state of an arm: {error}") from error

        async def work(until_s: float) -> Result:
            connection = await self._connected()
            began_s = time.monotonic()
            question = messages.Act(self._next(), self._session, time_left(until_s), instruction, image, state)
            answer = await self._ask(connection, question)
            if not isinstance(answer, Result):
                raise ServerError(f"{self._url} answered an observation with {type(answer).__name__}")
            if len(answer.deltas) != self.spec.horizon:
                raise ServerError(f"{self._url} sent {len(answer.deltas)} actions; its spec says {self.spec.horizon}")
            elapsed_ms = (time.monotonic() - began_s) * 1e3
            stages = dict(answer.stage_ms)
            stages["network"] = max(0.0, elapsed_ms - sum(stages.values()))
            return dataclasses.replace(answer, stage_ms=stages)

        return self._call(work, self._timeout_s if deadline_s is None else check_seconds(deadline_s, "deadline_s"))

    def _encode(self, message: messages.Message) -> bytes:
        return messages.encode(message)

    def _decode(self, data: bytes) -> messages.Message:
        return messages.decode(data)

    def _hello(self) -> messages.Hello:
        return messages.Hello(messages.PROTOCOL_VERSION, CLIENT_NAME, self._robot)

    def _accept(self, data: bytes) -> int:
        self._check_version(messages.peek_version(data), messages.PROTOCOL_VERSION)
        welcome = messages.decode(data)
        if not isinstance(welcome, messages.Welcome):
            raise ProtocolError(f"{self._url} greeted with {type(welcome).__name__}")
        if self._spec is not None and welcome.spec != self._spec:
            raise SpecChangedError(
                f"{self._url} served {self._spec} before and serves {welcome.spec} now; make a new client to accept it"
            )
        if self._spec is not None and welcome.identity != self._identity:
            raise PolicyChangedError(
                f"{self._url} served {self._spec.policy} of content {self._identity[:12] or 'unknown'} before, and now "
                f"serves {welcome.identity[:12] or 'unknown'}, another policy; make a new client to accept it"
            )
        self._spec, self._identity, self._robots = welcome.spec, welcome.identity, welcome.robots
        return welcome.max_message_bytes
