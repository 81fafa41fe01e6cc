"""Plain HTTP on a model's port: an application behind the same door as the websocket."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from magma_policy.serving.chat.errors import ApiError

KEEP_ALIVE_S = 75.0
"""How long a connection may stay idle between two requests."""
STOPPING_S = 1.0
FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"


class HttpSide:
    """Runs an application on connections that are handed to it."""

    def __init__(self, app: web.Application, max_connections: int) -> None:
        # A client that went away is worth no call of the model: its handler is cancelled.
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            keepalive_timeout=KEEP_ALIVE_S,
            access_log=None,
            shutdown_timeout=STOPPING_S,
        )
        self._max_connections = max_connections

    @property
    def connections(self) -> int:
        """Clients connected."""
        return len(self._runner.server.connections) if self._runner.server is not None else 0

    async def start(self) -> None:
        """Makes it ready for connections."""
        await self._runner.setup()

    async def stop(self) -> None:
        """Ends what is under way."""
        await self._runner.cleanup()

    def protocol(self, transport: asyncio.Transport) -> asyncio.Protocol | None:
        """What serves a connection; None, and a sentence to the client, when there are too many or none any more."""
        server = self._runner.server
        if server is not None and self.connections < self._max_connections:
            made: asyncio.Protocol = server()
            return made
        text = f"all {self._max_connections} connections are taken; ask again later"
        body = json.dumps(ApiError(503, text, None, "overloaded").as_json()).encode()
        transport.write(FULL + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        transport.close()
        return None
