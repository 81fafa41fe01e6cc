"""Connections that have asked for nothing yet: they wait for a while only, and there are only so many of them.

So whoever opens connections and says nothing, or one letter at a time, takes neither memory nor file descriptors from
those who have a page open. Where one too many comes the oldest goes: a browser asks at once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_WAITING = 128
PATIENCE_S = 10.0


class Lobby:
    """All connections that wait for a request. Belongs to the door's loop."""

    def __init__(self, most: int = MOST_WAITING, patience_s: float = PATIENCE_S) -> None:
        self._most, self._patience_s = most, patience_s
        self._waiting: OrderedDict[asyncio.BaseTransport, asyncio.TimerHandle] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, transport: asyncio.BaseTransport, loop: asyncio.AbstractEventLoop) -> None:
        """A connection waits from now on."""
        self.leave(transport)
        while len(self._waiting) >= self._most:
            self._end(next(iter(self._waiting)))
        self._waiting[transport] = loop.call_later(self._patience_s, partial(self._end, transport))

    def leave(self, transport: asyncio.BaseTransport) -> None:
        """It has asked for something, or is gone."""
        timer = self._waiting.pop(transport, None)
        if timer is not None:
            timer.cancel()

    def _end(self, transport: asyncio.BaseTransport) -> None:
        self.leave(transport)
        transport.close()


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP, whose idle connections stand in a lobby."""

    def __init__(self, lobby: Lobby, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lobby = lobby

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._lobby.enter(transport, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lobby.leave(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        asked = self.cycle is not None and not self.cycle.response_complete
        # A WebSocket has a protocol of its own from then on.
        if asked or self.transport.get_protocol() is not self:
            self._lobby.leave(self.transport)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self._lobby.enter(self.transport, self.loop)
