"""The network side of a policy server: websocket for robots, /healthz and /metrics over HTTP on the same port.

The event loop only moves bytes; the model runs in the batcher's thread, so health answers while it works, and a client
that is slow, silent or hostile costs its own connection and nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import http
import json
import logging
import math
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import ArmState
from magma_policy.errors import InstructionError, NotFiniteError, ObservationError
from magma_policy.serving.batching import Answer, Batcher, LateError, OverloadedError, StoppingError
from magma_policy.serving.metrics import CONTENT_TYPE, Metrics
from magma_policy_client import ProtocolError, messages

HELLO_S = 5.0
"""A client that has not said hello by then is not one."""
SEND_S = 5.0
"""A client that does not take its answer by then is dropped."""
MAX_PENDING = 16
"""Requests of one connection that may be under way at once."""
MAX_SESSIONS = 64
"""Sessions per connection."""
MAX_MALFORMED = 8
"""Messages of one connection that may be malformed before it is closed."""
STUCK_S = 30.0
"""A call of the model that lasts longer makes the server unhealthy."""

log = logging.getLogger("magma-serve")


class GoneError(Exception):
    """The client is not there any more, or does not read."""


class ServedPolicy(Protocol):
    """What the server needs of a policy besides `act_batch`."""

    def new_session(self, robot: str) -> Any: ...
    def request(self, image: Any, instruction: str, proprioception: ArmState | None, session: Any) -> Any: ...


@dataclass(frozen=True)
class Limits:
    """What clients may use up."""

    max_message_bytes: int
    max_connections: int


class PolicyServer:
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
        self._policy = policy
        self._specs = specs
        self._batcher = batcher
        self._metrics = metrics
        self._limits = limits
        self._token = token
        self._name = name
        self._identity = identity
        self._started_s = time.monotonic()
        self._connections = 0
        self._server: Server | None = None
        metrics.watch("magma_connections", "Clients connected.", lambda: self._connections)
        metrics.watch("magma_waiting_requests", "Requests that wait.", lambda: batcher.waiting)
        metrics.watch("magma_inference_running_seconds", "Age of the call under way.", lambda: batcher.running_s)
        metrics.watch("magma_uptime_seconds", "Time since start.", lambda: time.monotonic() - self._started_s)

    async def start(self, listener: socket.socket) -> int:
        """Listens on a bound socket; returns its port. Raises OSError when somebody else listens there."""
        self._server = await serve(
            self._handle,
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
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 2.0)

    # HTTP.

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return self._health()
        if not self._authorised(request.headers):
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

    def _authorised(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        given = headers.get_all("Authorization")
        expected = f"Bearer {self._token}".encode()
        return len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "surrogateescape"), expected)

    def _health(self) -> Response:
        running_s = self._batcher.running_s
        stuck = running_s > STUCK_S
        body = {
            "status": "stuck" if stuck else "ok",
            "policy": self._specs[""].policy,
            "identity": self._identity,
            "protocol": messages.PROTOCOL_VERSION,
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
        client: Client | None = None
        try:
            robot = await self._greet(connection)
            if robot is not None:
                log.info("client %s connected%s", connection.remote_address, f" for robot {robot}" if robot else "")
                client = Client(connection, self._policy, robot, self._batcher, self._metrics)
                await client.serve()
        except (ConnectionClosed, GoneError):
            pass
        finally:
            self._connections -= 1
            if client is not None:
                client.forget()

    async def _greet(self, connection: ServerConnection) -> str | None:
        """The robot that the client is for, once it was welcomed; None when it was turned away."""
        try:
            data = await asyncio.wait_for(connection.recv(), HELLO_S)
            version = messages.peek_version(data if isinstance(data, bytes) else data.encode())
            if version != messages.PROTOCOL_VERSION:
                self._metrics.refused("version")
                await _send(
                    connection,
                    messages.Failure(
                        None,
                        "version",
                        f"client speaks protocol {version}, this server {messages.PROTOCOL_VERSION}; "
                        "update the older one",
                    ),
                )
                await connection.close(1002, "protocol version")
                return None
            hello = messages.decode(data if isinstance(data, bytes) else data.encode())
            if not isinstance(hello, messages.Hello):
                raise ProtocolError("the first message must be a hello")
        except (asyncio.TimeoutError, TimeoutError):
            await connection.close(1002, "no hello")
            return None
        except ProtocolError as error:
            self._metrics.request("malformed")
            await _send(connection, messages.Failure(None, "malformed", _text(error)))
            await connection.close(1002, "not a hello")
            return None
        others = tuple(name for name in self._specs if name)
        if hello.robot not in self._specs:
            self._metrics.refused("robot")
            text = f"no robot {hello.robot[:100]!r} here, only {', '.join(others) or 'the default one'}"
            await _send(connection, messages.Failure(None, "robot", text))
            await connection.close(1002, "unknown robot")
            return None
        spec, limit = self._specs[hello.robot], self._limits.max_message_bytes
        welcome = messages.Welcome(messages.PROTOCOL_VERSION, self._name, spec, others, limit, self._identity)
        await _send(connection, welcome)
        return hello.robot


class Client:
    """One connection with its sessions."""

    def __init__(
        self, connection: ServerConnection, policy: ServedPolicy, robot: str, batcher: Batcher, metrics: Metrics
    ) -> None:
        self._connection = connection
        self._policy = policy
        self._robot = robot
        self._batcher = batcher
        self._metrics = metrics
        self._sessions: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._malformed = 0

    async def serve(self) -> None:
        """Reads requests until the connection ends; answers come from tasks of their own."""
        async for data in self._connection:
            try:
                message = messages.decode(data if isinstance(data, bytes) else data.encode())
                if not isinstance(message, (messages.Act, messages.Reset)):
                    raise ProtocolError(f"a client may send act and reset, got {type(message).__name__}")
            except ProtocolError as error:
                self._malformed += 1
                self._metrics.request("malformed")
                sequence = messages.peek_sequence(data) if isinstance(data, bytes) else None
                await _send(self._connection, messages.Failure(sequence, "malformed", _text(error)))
                if self._malformed >= MAX_MALFORMED:
                    await self._connection.close(1002, "too many malformed messages")
                    return
                continue
            if isinstance(message, messages.Reset):
                await self._reset(message)
            elif len(self._tasks) >= MAX_PENDING:
                await self._refuse(message, "overloaded", f"{MAX_PENDING} requests of this connection are under way")
            else:
                task = asyncio.create_task(self._act(message, time.monotonic() + message.budget_s))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def forget(self) -> None:
        """The client is gone: its requests are not worth a call of the model."""
        for name in self._sessions:
            self._batcher.forget((id(self), name))
        for task in self._tasks:
            task.cancel()

    async def _reset(self, message: messages.Reset) -> None:
        if message.session not in self._sessions and len(self._sessions) >= MAX_SESSIONS:
            await self._refuse(message, "overloaded", f"this connection has {MAX_SESSIONS} sessions already")
            return
        # A new object, not a cleared one: a call under way may still hold the old.
        self._sessions[message.session] = self._policy.new_session(self._robot)
        await _send(self._connection, messages.Done(message.sequence))

    async def _act(self, message: messages.Act, deadline_s: float) -> None:
        if message.session not in self._sessions:
            if len(self._sessions) >= MAX_SESSIONS:
                await self._refuse(message, "overloaded", f"this connection has {MAX_SESSIONS} sessions already")
                return
            self._sessions[message.session] = self._policy.new_session(self._robot)
        key = (id(self), message.session)
        code, text = "internal", ""
        try:
            request = self._policy.request(
                message.image, message.instruction, message.proprioception, self._sessions[message.session]
            )
            answer = await asyncio.wrap_future(self._batcher.submit(key, request, deadline_s))
            if time.monotonic() > deadline_s:
                raise LateError(f"the action was ready {(time.monotonic() - deadline_s) * 1e3:.0f} ms too late")
            await self._answer(message, answer)
            return
        except asyncio.CancelledError:
            self._metrics.request("gone")
            raise
        except GoneError:
            self._metrics.request("gone")
            return
        except (ObservationError, InstructionError) as error:
            code, text = "observation", str(error)
        except LateError as error:
            code, text = "late", str(error)
        except OverloadedError as error:
            code, text = "overloaded", str(error)
        except StoppingError as error:
            code, text = "stopping", str(error)
        except NotFiniteError as error:
            # Not the request's fault, and no bug here that a traceback would show.
            log.error("no action: %s", error)
            text = str(error)
        except Exception as error:  # the model's own failure: the robot is told, the server goes on
            log.exception("policy failed")
            text = f"policy failed: {type(error).__name__}: {error}"
        await self._refuse(message, code, text)

    async def _answer(self, message: messages.Act, answer: Answer) -> None:
        result = answer.result
        stages = {name: float(value) for name, value in result.stage_ms.items() if math.isfinite(value)}
        self._metrics.answered(answer.queue_ms, stages)
        reply = messages.Result(
            message.sequence, result.deltas, {"queue": answer.queue_ms, **stages}, getattr(result, "marks", None)
        )
        await _send(self._connection, reply)
        self._metrics.request("ok")

    async def _refuse(self, message: messages.Act | messages.Reset, code: str, text: str) -> None:
        self._metrics.request(code)
        with contextlib.suppress(GoneError):
            await _send(self._connection, messages.Failure(message.sequence, code, text[: messages.MAX_TEXT]))


async def _send(connection: ServerConnection, message: messages.Message) -> None:
    try:
        await asyncio.wait_for(connection.send(messages.encode(message)), SEND_S)
    except (asyncio.TimeoutError, TimeoutError):
        log.warning("client %s does not take its answers; dropped", connection.remote_address)
        connection.transport.abort()
        raise GoneError from None
    except ConnectionClosed as error:
        raise GoneError from error


def _response(status: http.HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> Response:
    headers = Headers([("Content-Type", content_type), ("Content-Length", str(len(body))), ("Connection", "close")])
    return Response(status.value, status.phrase, headers, body)


def _text(error: Exception) -> str:
    return str(error)[: messages.MAX_TEXT]


def _quiet_logger() -> logging.Logger:
    """Port scanners and half-open connections are no news; the library would log a traceback for each."""
    logger = logging.getLogger("magma-serve.websockets")
    logger.setLevel(logging.CRITICAL)
    return logger
