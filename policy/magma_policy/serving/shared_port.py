"""One port for two protocols: a connection begins as neither, and what it asks for first decides who serves it.

Websocket clients, /healthz and /metrics are served by the websockets library, which reads no request with a body;
everything else goes to an HTTP server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import ServerConnection

MAX_HEAD = 32_768
"""Bytes of a request before its body."""
HTTP_PATHS = ("/v1",)


class SharedConnection(ServerConnection):
    """A connection that becomes a websocket's, or is handed to an HTTP server."""

    def __init__(
        self,
        *arguments: Any,
        head_s: float,
        http: Callable[[asyncio.Transport], asyncio.Protocol | None],
        **options: Any,
    ) -> None:
        """`head_s` is how long the first request may take to arrive; `http` makes the protocol that serves HTTP on the
        transport, None when the client was turned away."""
        super().__init__(*arguments, **options)
        self._head_s = head_s
        self._http = http
        self._head = bytearray()
        self._undecided: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._undecided = transport
        self._timer = self.loop.call_later(self._head_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._undecided is None:
            super().data_received(data)
            return
        self._head += data
        kind = first_request(bytes(self._head))
        if kind is None and len(self._head) <= MAX_HEAD:
            return
        transport, head = self._decide(), bytes(self._head)
        self._head.clear()
        if kind != "http":
            super().connection_made(transport)
            super().data_received(head)
            return
        protocol = self._http(transport)
        if protocol is not None:
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            protocol.data_received(head)

    def eof_received(self) -> None:
        if self._undecided is None:
            super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._undecided is None:
            super().connection_lost(exc)
        else:
            self._decide()

    def _decide(self) -> asyncio.Transport:
        transport, self._undecided = self._undecided, None
        if self._timer is not None:
            self._timer.cancel()
        assert transport is not None
        return transport


def first_request(head: bytes) -> str | None:
    """Who serves a connection that begins so, "websocket" or "http"; None when more must come."""
    line, ended, _ = head.partition(b"\n")
    if not ended:
        return None
    method, _, rest = line.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
    if method == b"GET" and not any(path == own or path.startswith(f"{own}/") for own in HTTP_PATHS):
        return "websocket"
    if not method.isalpha() or not method.isupper():
        return "websocket"
    return "http" if b"\r\n\r\n" in head or b"\n\n" in head else None
