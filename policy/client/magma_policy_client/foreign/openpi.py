"""Policies behind openpi's server (`scripts/serve_policy.py`), as version 0.1.2 of openpi-client speaks with it.

On connecting the server sends a map of what it is. Each observation is one map of the client's, each answer one of the
server's, as msgpack; a frame of text is the server's traceback. There are no sequence numbers and no word for a new
episode. So when a deadline passes the connection is given up: the late answer would be taken for the next one's. So is
a connection on which something came that nobody asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from magma_policy_client.errors import ProtocolError, QuestionError
from magma_policy_client.foreign.array_forms import OPENPI, pack, unpack
from magma_policy_client.foreign.foreign_client import ForeignClient, stages_of


class OpenpiClient(ForeignClient):
    """Connection to an openpi server; see `ForeignClient`."""

    _pong: Awaitable[float]
    """of the ping behind the last answer: what the server sent with that answer has come when it has"""

    def _headers(self) -> dict[str, str] | None:
        return {"Authorization": f"Api-Key {self._token}"} if self._token else None

    async def _greet(self, connection: ClientConnection) -> None:
        data = await connection.recv()
        if isinstance(data, str):
            raise self._failed(data)
        try:
            told = unpack(data, OPENPI)
        except ProtocolError as error:
            raise ProtocolError(f"{self._address} is no openpi server: {error}") from error
        self._recognise(told)
        self._pong = await connection.ping()

    async def _begin_episode(self, connection: ClientConnection) -> None:
        with self._dropped_when_broken(connection):
            await self._check_quiet(connection, await connection.ping())

    async def _exchange(
        self, connection: ClientConnection, told: Mapping[str, Any], instruction: str
    ) -> tuple[Mapping[Any, Any], dict[str, float]]:
        try:
            data = self._check_size(pack(told, OPENPI))
        except ProtocolError as error:
            raise QuestionError("observation", str(error)) from error
        with self._dropped_when_broken(connection):
            try:
                await self._check_quiet(connection, self._pong)
                await self._send(connection, data)
                answered = await connection.recv()
            except asyncio.CancelledError:
                self._drop(connection)
                raise
            if isinstance(answered, str):
                self._drop(connection)  # the server closes it now
                raise self._failed(answered)
            answer = unpack(answered, OPENPI)
        with contextlib.suppress(ConnectionClosed):  # the answer counts; the next call connects again
            self._pong = await connection.ping()
        return answer, stages_of(answer.get("policy_timing")) or stages_of(answer.get("server_timing"))

    async def _check_quiet(self, connection: ClientConnection, pong: Awaitable[float]) -> None:
        """Waits for the pong. Raises ProtocolError when a message has come that nobody asked for: it would be taken for
        the next answer, and each answer for the one after."""
        heard: asyncio.Future[Any] = asyncio.ensure_future(connection.recv())
        ponged: asyncio.Future[Any] = asyncio.ensure_future(pong)
        try:
            await asyncio.wait([heard, ponged], return_when=asyncio.FIRST_COMPLETED)
            if heard.done():
                heard.result()
                raise ProtocolError(f"{self._address} sent a message that nobody asked for")
            ponged.result()
        finally:
            heard.cancel()
            await asyncio.wait([heard])
