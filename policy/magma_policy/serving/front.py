"""The door of a model's server: websocket for its clients, /healthz and /metrics over HTTP on the same port.

The event loop only moves bytes; the model runs in the batcher's thread, so health answers while it works, and a client
that is slow, silent or hostile costs its own connection and nobody else's. What is asked and answered is a subclass's
business.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import hmac
import http
import json
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from magma_contracts.hosts import host_name, is_address
from magma_contracts.text import printable
from magma_policy.errors import NotFiniteError
from magma_policy.serving.batching import Batcher, LateError, OverloadedError, StoppingError
from magma_policy.serving.chat.api import ChatApi
from magma_policy.serving.chat.errors import ApiError
from magma_policy.serving.http_side import HttpSide
from magma_policy.serving.metrics import CONTENT_TYPE, Metrics
from magma_policy.serving.shared_port import SharedConnection
from magma_policy_client import ProtocolError, messages
from magma_policy_client.codec import MAX_TEXT, peek_sequence

HELLO_S = 5.0
"""A client that has not said hello by then is not one."""
SEND_S = 5.0
"""A client that does not take its answer by then is dropped."""
MAX_PENDING = 16
"""Requests of one connection that may be under way at once."""
MAX_MALFORMED = 8
"""Messages of one connection that may be malformed before it is closed."""
STUCK_S = 30.0
"""A call of the model that lasts longer makes the server unhealthy."""

log = logging.getLogger("magma-serve")


class GoneError(Exception):
    """The client is not there any more, or does not read."""


@dataclass(frozen=True)
class Limits:
    """What clients may use up."""

    max_message_bytes: int
    max_connections: int


class Visitor(abc.ABC):
    """One client that was welcomed."""

    refusals: tuple[type[Exception], ...]
    """what the model raises for what cannot be asked"""
    served: str
    """what kind of model it is, for a person to read"""

    def __init__(self, connection: ServerConnection, batcher: Batcher, metrics: Metrics) -> None:
        self._connection = connection
        self._batcher = batcher
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._malformed = 0

    @abc.abstractmethod
    async def take(self, data: bytes) -> None:
        """A message. Raises ProtocolError for one that is none, or out of place."""

    def failure(self, sequence: int | None, code: str, said: str) -> bytes:
        """How the client's protocol says that there is no answer."""
        return messages.encode(messages.Failure(sequence, code, said[:MAX_TEXT]))

    def sequence_of(self, data: bytes) -> int | None:
        """Number of a message that cannot be read otherwise, so that the refusal can name it."""
        return peek_sequence(data)

    async def serve(self) -> None:
        """Reads requests until the connection ends; answers come from tasks of their own."""
        async for data in self._connection:
            try:
                await self.take(data if isinstance(data, bytes) else data.encode())
            except ProtocolError as error:
                self._malformed += 1
                self._metrics.request("malformed")
                sequence = self.sequence_of(data) if isinstance(data, bytes) else None
                await send(self._connection, self.failure(sequence, "malformed", text_of(error)))
                if self._malformed >= MAX_MALFORMED:
                    await self._connection.close(1002, "too many malformed messages")
                    return

    def forget(self) -> None:
        """The client is gone: its requests are not worth a call of the model."""
        for task in self._tasks:
            task.cancel()

    async def begin(self, sequence: int, work: Callable[[], Awaitable[None]]) -> None:
        """Answers a request beside the others, by `work`; or refuses it when there are too many."""
        if len(self._tasks) >= MAX_PENDING:
            await self.refuse(sequence, "overloaded", f"{MAX_PENDING} requests of this connection are under way")
            return
        task = asyncio.create_task(self._settle(sequence, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def refuse(self, sequence: int, code: str, text: str) -> None:
        """No answer, and why."""
        self._metrics.request(code)
        with contextlib.suppress(GoneError):
            await send(self._connection, self.failure(sequence, code, text))

    async def _settle(self, sequence: int, work: Callable[[], Awaitable[None]]) -> None:
        code, text = "internal", ""
        try:
            await work()
            self._metrics.request("ok")
            return
        except asyncio.CancelledError:
            self._metrics.request("gone")
            raise
        except GoneError:
            self._metrics.request("gone")
            return
        except LateError as error:
            code, text = "late", str(error)
        except OverloadedError as error:
            code, text = "overloaded", str(error)
        except StoppingError as error:
            code, text = "stopping", str(error)
        except NotFiniteError as error:
            # Not the request's fault, and no bug here that a traceback would show.
            log.error("no answer: %s", error)
            text = str(error)
        except Exception as error:  # the model's own failure: the client is told, the server goes on
            if isinstance(error, self.refusals):
                code, text = "observation", str(error)
            else:
                log.exception("%s failed", self.served)
                text = f"{self.served} failed: {type(error).__name__}: {error}"
        await self.refuse(sequence, code, text)


class ModelServer(abc.ABC):
    """Serves one model to many clients."""

    def __init__(
        self,
        batcher: Batcher,
        metrics: Metrics,
        limits: Limits,
        token: str | None,
        model: str,
        identity: str,
        protocol: int,
    ) -> None:
        """`model` and `identity` are what /healthz tells of the model, `protocol` the version that is spoken."""
        self._batcher = batcher
        self._metrics = metrics
        self._limits = limits
        self._token = token
        self.model = model
        """what is served, by name"""
        self._identity = identity
        self._protocol = protocol
        self._started_s = time.monotonic()
        self._connections = 0
        self._server: Server | None = None
        self._http: HttpSide | None = None
        metrics.watch("magma_connections", "Clients connected.", lambda: self._connections)
        metrics.watch("magma_waiting_requests", "Requests that wait.", lambda: batcher.waiting)
        metrics.watch("magma_inference_running_seconds", "Age of the call under way.", lambda: batcher.running_s)
        metrics.watch("magma_uptime_seconds", "Time since start.", lambda: time.monotonic() - self._started_s)

    @abc.abstractmethod
    async def greet(self, connection: ServerConnection, hello: bytes) -> Visitor | None:
        """Welcomes a client by its first message; None when it was told why not. Raises ProtocolError."""

    def offer(self, api: ChatApi) -> None:
        """Answers chat completions on the same port, from `start` on."""
        app = api.application(self._check_http)
        for path in ("/healthz", "/metrics"):
            # Proxies send several requests over one connection, whichever they belong to.
            app.router.add_get(path, self._plain)
        self._http = HttpSide(app, self._limits.max_connections)

    async def start(self, listener: socket.socket) -> int:
        """Listens on a bound socket; returns its port. Raises OSError when somebody else listens there."""
        shared: dict[str, Any] = {}
        if self._http is not None:
            await self._http.start()
            shared["create_connection"] = partial(SharedConnection, head_s=HELLO_S, http=self._http.protocol)
        self._server = await serve(
            self._handle,
            **shared,
            sock=listener,
            process_request=self._process_request,
            # A web page in somebody's browser may reach the loopback interface too; browsers name their origin.
            origins=[None],
            compression=None,
            max_size=self._limits.max_message_bytes,
            max_queue=MAX_PENDING,
            open_timeout=HELLO_S,
            ping_interval=20.0,
            ping_timeout=20.0,
            close_timeout=1.0,
            server_header="magma-serve",
            logger=_quiet_logger(),
        )
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Closes every connection, telling the clients that the server goes away."""
        if self._server is not None:
            self._server.close(close_connections=True)
            if self._http is not None:
                await self._http.stop()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 2.0)

    # HTTP.

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return self._health()
        if not self._authorised(request.headers.get_all("Authorization")):
            self._metrics.refused("token")
            response = _response(http.HTTPStatus.UNAUTHORIZED, b"wrong or missing token (Authorization: Bearer ...)\n")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        if path == "/metrics":
            return _response(http.HTTPStatus.OK, self._metrics.text(), CONTENT_TYPE)
        if path != "/":
            return _response(http.HTTPStatus.NOT_FOUND, b"there are: / (websocket), /healthz, /metrics\n")
        if "websocket" not in request.headers.get("Upgrade", "").lower():
            return _response(
                http.HTTPStatus.UPGRADE_REQUIRED,
                b"a policy server: connect with magma_policy_client, or see /healthz and /metrics\n",
            )
        if self._connections >= self._limits.max_connections:
            self._metrics.refused("full")
            text = f"all {self._limits.max_connections} connections are taken\n"
            return _response(http.HTTPStatus.SERVICE_UNAVAILABLE, text.encode())
        return None

    def _check_http(self, request: web.BaseRequest) -> None:
        """Raises ApiError for a request that may not come in: the rules are those of the websocket."""
        if request.path == "/healthz":
            return
        if not self._authorised(request.headers.getall("Authorization", [])):
            self._metrics.refused("token")
            text = "wrong or missing token (Authorization: Bearer ...); it is the client's api_key"
            raise ApiError(401, text, None, "invalid_api_key")
        if "Origin" in request.headers:
            raise ApiError(403, "web pages may not ask; this is no server for browsers", None, "origin_not_allowed")
        name = host_name(request.headers.get("Host"))
        if self._token is None and name != "localhost" and not is_address(name):
            # A page may give its own name this machine's address, and is then no stranger to the browser.
            text = (
                f"the Host {printable(request.headers.get('Host', ''), 80)!r} is none of this machine; use its address"
            )
            raise ApiError(403, text, None, "host_not_allowed")

    async def _plain(self, request: web.Request) -> web.Response:
        if request.path == "/healthz":
            made = self._health()
            return web.Response(status=made.status_code, body=made.body, content_type="application/json")
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    def _authorised(self, given: Sequence[str]) -> bool:
        if self._token is None:
            return True
        expected = f"Bearer {self._token}".encode()
        return len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "surrogateescape"), expected)

    def _health(self) -> Response:
        running_s = self._batcher.running_s
        stuck = running_s > STUCK_S
        body = {
            "status": "stuck" if stuck else "ok",
            "policy": self.model,
            "identity": self._identity,
            "protocol": self._protocol,
            "uptime_s": round(time.monotonic() - self._started_s, 3),
            "connections": self._connections,
            "waiting": self._batcher.waiting,
            "inference_running_s": round(running_s, 3),
        }
        status = http.HTTPStatus.SERVICE_UNAVAILABLE if stuck else http.HTTPStatus.OK
        return _response(status, json.dumps(body).encode() + b"\n", "application/json")

    # Websocket.

    async def _handle(self, connection: ServerConnection) -> None:
        if self._connections >= self._limits.max_connections:  # several may have come through the door at once
            await connection.close(1013, "full")
            return
        self._connections += 1
        visitor: Visitor | None = None
        try:
            visitor = await self._welcome(connection)
            if visitor is not None:
                log.info("client %s connected", connection.remote_address)
                await visitor.serve()
        except (ConnectionClosed, GoneError):
            pass
        finally:
            self._connections -= 1
            if visitor is not None:
                visitor.forget()

    async def _welcome(self, connection: ServerConnection) -> Visitor | None:
        try:
            data = await asyncio.wait_for(connection.recv(), HELLO_S)
        except (asyncio.TimeoutError, TimeoutError):
            await connection.close(1002, "no hello")
            return None
        try:
            return await self.greet(connection, data if isinstance(data, bytes) else data.encode())
        except ProtocolError as error:
            self._metrics.request("malformed")
            await send(connection, messages.encode(messages.Failure(None, "malformed", text_of(error))))
            await connection.close(1002, "not a hello")
            return None

    async def speaks(self, connection: ServerConnection, version: int, own: int) -> bool:
        """Whether a client's version of the protocol is this server's `own`; a client of another is turned away."""
        if version == own:
            return True
        text = f"client speaks protocol {version}, this server {own}; update the older one"
        await self.turn_away(connection, "version", text)
        return False

    async def turn_away(self, connection: ServerConnection, code: str, text: str) -> None:
        """Says why a client is not welcome, and closes."""
        self._metrics.refused(code)
        await send(connection, messages.encode(messages.Failure(None, code, text)))
        await connection.close(1002, code)


async def send(connection: ServerConnection, data: bytes) -> None:
    """Sends a message. Raises GoneError when nobody takes it."""
    try:
        await asyncio.wait_for(connection.send(data), SEND_S)
    except (asyncio.TimeoutError, TimeoutError):
        log.warning("client %s does not take its answers; dropped", connection.remote_address)
        connection.transport.abort()
        raise GoneError from None
    except ConnectionClosed as error:
        raise GoneError from error


def _response(status: http.HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> Response:
    headers = Headers([("Content-Type", content_type), ("Content-Length", str(len(body))), ("Connection", "close")])
    return Response(status.value, status.phrase, headers, body)


def text_of(error: Exception) -> str:
    """What is told of an error."""
    return str(error)[:MAX_TEXT]


def _quiet_logger() -> logging.Logger:
    """Port scanners and half-open connections are no news; the library would log a traceback for each."""
    logger = logging.getLogger("magma-serve.websockets")
    logger.setLevel(logging.CRITICAL)
    return logger
