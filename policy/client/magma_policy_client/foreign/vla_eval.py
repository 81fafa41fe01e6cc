"""Policies behind a model server of vla-eval (the VLA evaluation harness), protocol version 1, as version 0.8.0 has it.

Binary frames of msgpack, {type, payload, seq, timestamp}. Client and server say hello; then the client tells when an
episode begins and ends, which is not answered, and every observation is answered by an action, or an error, of its seq.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection

from magma_contracts.errors import ConfigError
from magma_contracts.text import brief, printable
from magma_policy_client.codec import short
from magma_policy_client.errors import ProtocolError, QuestionError, SpecChangedError, VersionMismatchError
from magma_policy_client.foreign.array_forms import VLA_EVAL, pack, unpack
from magma_policy_client.foreign.declared import check_declared
from magma_policy_client.foreign.foreign_client import ForeignClient, stages_of
from magma_policy_client.model_client import CLIENT_NAME

PROTOCOL_VERSION = 1
TYPES = ("hello", "observation", "action", "episode_start", "episode_end", "error")


class VlaEvalClient(ForeignClient):
    """Connection to a model server of vla-eval; see `ForeignClient`."""

    _episode: int | None = None
    """seq of the word that an episode begins; None before the first, and on a new connection"""

    def _headers(self) -> dict[str, str] | None:
        # vla-eval's own servers ask for none; a magma-serve, or what stands in front of a server, may.
        return {"Authorization": f"Bearer {self._token}"} if self._token else None

    async def _greet(self, connection: ClientConnection) -> None:
        self._episode = None
        hello = {"harness_version": CLIENT_NAME, "protocol_version": PROTOCOL_VERSION, "benchmark": "magma"}
        sequence = await self._say(connection, "hello", hello)
        kind, payload = await self._hear(connection, (sequence,))
        if kind != "hello":
            raise ProtocolError(f"{self._address} is no vla-eval server: it answered a hello with {kind}")
        version = payload.get("protocol_version")
        if type(version) is not int or version != PROTOCOL_VERSION:
            raise VersionMismatchError(
                f"{self._address} speaks version {brief(version)} of vla-eval's protocol, this client "
                f"{PROTOCOL_VERSION}; serve it by vla-eval 0.8"
            )
        try:
            check_declared(self._address, self._model, payload)
        except ConfigError as error:
            if not self._identity:
                raise
            # Not the user's mistake: it agreed when this client was made.
            raise SpecChangedError(f"{error}; it declared otherwise before, make a new client to accept it") from error
        self._recognise(payload)

    async def _begin_episode(self, connection: ClientConnection) -> None:
        with self._dropped_when_broken(connection):
            if self._episode is not None:
                await self._say(connection, "episode_end", {"metrics": {}})
            self._episode = await self._say(connection, "episode_start", {"task": {"name": self._model.policy}})

    async def _exchange(
        self, connection: ClientConnection, told: Mapping[str, Any], instruction: str
    ) -> tuple[Mapping[Any, Any], dict[str, float]]:
        if self._episode is None:
            await self._begin_episode(connection)
        with self._dropped_when_broken(connection):
            sequence = await self._say(connection, "observation", told)
            kind, payload = await self._hear(connection, (sequence, self._episode))
        if kind != "action":
            raise ProtocolError(f"{self._address} answered an observation with {kind}")
        return payload, stages_of(payload.get("stage_ms"))

    async def _say(self, connection: ClientConnection, kind: str, payload: Mapping[str, Any]) -> int:
        """Sends a message; returns its seq."""
        sequence = self._sequence = self._sequence + 1
        message = {"type": kind, "payload": payload, "seq": sequence, "timestamp": time.time()}
        try:
            data = self._check_size(pack(message, VLA_EVAL))
        except ProtocolError as error:
            raise QuestionError("observation", str(error)) from error
        await self._send(connection, data)
        return sequence

    async def _hear(
        self, connection: ClientConnection, wanted: tuple[int | None, ...]
    ) -> tuple[str, Mapping[str, Any]]:
        """The answer to the first of `wanted`; an error that answers any of them is raised. What answers an earlier
        message is dropped: its question gave up."""
        while True:
            data = await connection.recv()
            if isinstance(data, str):
                raise ProtocolError(f"{self._address} sent text; is it a vla-eval server?")
            kind, payload, sequence = self._read(data)
            if kind == "error" and sequence in wanted:
                raise self._failed(payload.get("error", payload))
            if sequence == wanted[0]:
                return kind, payload
            if sequence > self._sequence:
                raise ProtocolError(f"{self._address} answered message {sequence}, which was never sent")

    def _read(self, data: bytes) -> tuple[str, Mapping[str, Any], int]:
        try:
            message = unpack(data, VLA_EVAL)
        except ProtocolError as error:
            raise ProtocolError(f"{self._address}: {error}") from error
        kind, payload, sequence = (message.get(name) for name in ("type", "payload", "seq"))
        if not isinstance(kind, str) or kind not in TYPES:
            raise ProtocolError(f"{self._address} sent a message of type {short(kind)}; known are {', '.join(TYPES)}")
        if not isinstance(payload, Mapping) or not isinstance(sequence, int) or isinstance(sequence, bool):
            raise ProtocolError(f"{self._address} sent {printable(kind)} without a payload and a seq")
        return kind, payload, sequence
