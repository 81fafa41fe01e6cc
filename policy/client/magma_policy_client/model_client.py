"""The connection to a model's server in this project's own protocol."""

from __future__ import annotations

import abc
import contextlib
import importlib.metadata
from typing import Any

from websockets.asyncio.client import ClientConnection

from magma_policy_client import messages
from magma_policy_client.connected_client import ConnectedClient
from magma_policy_client.errors import (
    PolicyClientError,
    PolicyTimeoutError,
    ProtocolError,
    QuestionError,
    RefusedError,
    ServerError,
    VersionMismatchError,
)

REFUSALS = ("robot", "observation", "overloaded", "stopping")


class ModelClient(ConnectedClient):
    """Connection to a model's server; see `ConnectedClient`."""

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        """
        Args:
            url: `ws://host:port` or `wss://host:port`.
            token: what the server was started with, if anything.
            timeout_s: deadline for connecting, and for calls that name none.

        Raises:
            ValueError: the URL or timeout makes no sense.
            PolicyClientError: see the kinds in `magma_policy_client.errors`.
        """
        self._token = token
        self._max_message_bytes = messages.MAX_MESSAGE_BYTES
        super().__init__(url, timeout_s, messages.MAX_MESSAGE_BYTES)

    # What is said is a subclass's business.

    @abc.abstractmethod
    def _encode(self, message: Any) -> bytes:
        """A message of the protocol as bytes."""

    @abc.abstractmethod
    def _decode(self, data: bytes) -> Any:
        """Bytes to a message of the protocol. Raises ProtocolError."""

    @abc.abstractmethod
    def _hello(self) -> Any:
        """The first message."""

    @abc.abstractmethod
    def _accept(self, data: bytes) -> int:
        """Reads the server's welcome, which is no failure; returns how large a message it takes. Raises a
        PolicyClientError for a server that is not the right one."""

    # The client's own thread.

    def _headers(self) -> dict[str, str] | None:
        return {"Authorization": f"Bearer {self._token}"} if self._token else None

    async def _greet(self, connection: ClientConnection) -> None:
        await connection.send(self._encode(self._hello()))
        self._max_message_bytes = self._accept(await self._welcome(connection))

    async def _ask(self, connection: ClientConnection, question: Any) -> Any:
        try:
            data = self._encode(question)
        except ProtocolError as error:
            raise QuestionError("observation", str(error)) from error
        if len(data) > self._max_message_bytes:
            raise QuestionError(
                "observation", f"the message has {len(data)} bytes; {self._url} takes at most {self._max_message_bytes}"
            )
        with self._dropped_when_broken(connection):
            await self._send(connection, data)
            while True:
                answer = await self._receive(connection)
                if isinstance(answer, messages.Failure) and answer.sequence in (question.sequence, None):
                    raise self._failure(answer)
                sequence = getattr(answer, "sequence", None)
                if sequence == question.sequence:
                    return answer
                if sequence is None or sequence > question.sequence:
                    kind = type(answer).__name__
                    raise ProtocolError(f"{self._url} answered {kind} {sequence} to {question.sequence}")
                # An answer to a call that gave up: never returned.

    async def _receive(self, connection: ClientConnection) -> Any:
        data = await connection.recv()
        if isinstance(data, str):
            raise ProtocolError(f"{self._url} sent text; is it a policy server?")
        return self._decode(data)

    async def _welcome(self, connection: ClientConnection) -> bytes:
        data = await connection.recv()
        if isinstance(data, str):
            raise ProtocolError(f"{self._url} sent text; is it a policy server?")
        answer: messages.Message | None = None
        with contextlib.suppress(ProtocolError):
            answer = messages.decode(data)
        if isinstance(answer, messages.Failure):
            raise self._failure(answer)
        return data

    def _check_version(self, theirs: int, ours: int) -> None:
        if theirs != ours:
            raise VersionMismatchError(
                f"{self._url} speaks protocol {theirs}, this client {ours}; update the older one"
            )

    def _failure(self, failure: messages.Failure) -> PolicyClientError:
        text = f"{self._url}: {failure.message}"
        if failure.code == "version":
            return VersionMismatchError(text)
        if failure.code == "late":
            return PolicyTimeoutError(text)
        if failure.code in REFUSALS:
            return RefusedError(failure.code, text)
        if failure.code == "malformed":
            return ProtocolError(text)
        return ServerError(text)


def _version() -> str:
    try:
        return importlib.metadata.version("magma-policy-client")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


CLIENT_NAME = f"magma-policy-client {_version()}"
