"""A policy server in one call: `serve_policy(act, SPEC, port)`, for a policy of one's own in its own environment.

One client's question after the other, each connection in a thread; no batching and no metrics, for which there is
`magma-serve`. Bytes that are no message, questions that come too late and what `act` raises cost a refusal, nothing
else.
"""

from __future__ import annotations

import hmac
import http
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import ArmState
from magma_contracts.hosts import is_loopback
from magma_contracts.text import sentence
from magma_policy_client import messages
from magma_policy_client.codec import peek_sequence
from magma_policy_client.errors import ProtocolError

Act = Callable[[NDArray[np.uint8], str, ArmState | None], ArrayLike]
MOST_CONNECTIONS = 16
HELLO_S = 5.0
NAME = "magma-policy-client small server"

log = logging.getLogger("small-server")


def serve_policy(
    act: Act,
    spec: ActionSpec,
    port: int,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    identity: str = "",
    reset: Callable[[], None] = lambda: None,
    ready: Callable[[int], None] = lambda port: None,
) -> None:
    """Serves a policy until the process ends; says where.

    Args:
        act: from a picture uint8 (H, W, 3) rgb of the spec's size, an instruction and the arm's state (None where the
            spec does not ask for it) to steps (horizon, 7) as `magma_contracts.actions` has them. A ValueError is told
            to the client as what cannot be acted on, anything else as a failure. One call at a time.
        spec: what the steps mean, and which picture is wanted.
        port: 0 takes a free one.
        host: where to listen.
        token: what clients must give; needed where other machines can connect.
        identity: hexadecimal digits, a hash of weights and settings: results are kept apart by it.
        reset: an episode begins. Of several clients at a time none has an episode of its own.
        ready: called with the port once clients can connect.

    Raises:
        ValueError: the specification makes no sense, or other machines could connect without a token.
        OSError: the port is taken.
    """
    spec.check()
    if token is None and not is_loopback(host):
        raise ValueError(f"{host} can be reached from other machines: give a token, or listen on 127.0.0.1")
    welcome = messages.encode(
        messages.Welcome(messages.PROTOCOL_VERSION, NAME, spec, (), messages.MAX_MESSAGE_BYTES, identity)
    )
    busy, places = threading.Lock(), threading.BoundedSemaphore(MOST_CONNECTIONS)

    def answered(asked: messages.Message, began_s: float) -> messages.Message:
        if isinstance(asked, messages.Reset):
            with busy:
                return _begun(reset, asked)
        if not isinstance(asked, messages.Act):
            raise ProtocolError(f"a client may send act and reset, got {type(asked).__name__}")
        with busy:
            if time.monotonic() - began_s > asked.budget_s:
                return messages.Failure(asked.sequence, "late", "the deadline passed before it was its turn")
            return _acted(act, spec, asked)

    def converse(connection: ServerConnection) -> None:
        if not places.acquire(blocking=False):
            connection.close(1013, "full")
            return
        try:
            _greet(connection, welcome)
            for data in connection:
                began_s = time.monotonic()
                try:
                    answer = answered(messages.decode(_bytes(data)), began_s)
                except ProtocolError as error:
                    answer = messages.Failure(peek_sequence(_bytes(data)), "malformed", sentence(str(error)))
                connection.send(messages.encode(answer))
        except (ConnectionClosed, TimeoutError):
            pass
        finally:
            places.release()

    def let_in(connection: ServerConnection, request: Request) -> Response | None:
        given = request.headers.get_all("Authorization")
        expected = f"Bearer {token}".encode()
        if token is None or (
            len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "surrogateescape"), expected)
        ):
            return None
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "wrong or missing token (Authorization: Bearer ...)\n")

    options: Mapping[str, Any] = {
        "process_request": let_in,
        # A web page in somebody's browser may reach this machine too; browsers name their origin.
        "origins": [None],
        "compression": None,
        "max_size": messages.MAX_MESSAGE_BYTES,
    }
    with serve(converse, host, port, **options) as server:
        taken = int(server.socket.getsockname()[1])
        print(f"serving on ws://{host}:{taken}", flush=True)
        ready(taken)
        server.serve_forever()


def _greet(connection: ServerConnection, welcome: bytes) -> None:
    """Welcomes a client of this protocol; another one is told why not."""
    try:
        said = messages.decode(_bytes(connection.recv(HELLO_S)))
    except ProtocolError as error:
        said = messages.Failure(None, "malformed", sentence(str(error)))
    if isinstance(said, messages.Hello) and said.protocol == messages.PROTOCOL_VERSION and not said.robot:
        connection.send(welcome)
        return
    if isinstance(said, messages.Hello):
        code = "robot" if said.robot else "version"
        said = messages.Failure(None, code, f"here is one robot, and protocol {messages.PROTOCOL_VERSION}")
    elif not isinstance(said, messages.Failure):
        said = messages.Failure(None, "malformed", "the first message must be a hello")
    connection.send(messages.encode(said))
    connection.close(1002, said.code)


def _begun(reset: Callable[[], None], asked: messages.Reset) -> messages.Message:
    try:
        reset()
    except Exception as error:  # the policy's own failure: the client is told, the server goes on
        return _failed(asked.sequence, error)
    return messages.Done(asked.sequence)


def _failed(sequence: int, error: Exception) -> messages.Failure:
    """To be called where the error is handled."""
    log.exception("the policy failed")
    return messages.Failure(sequence, "internal", sentence(f"{type(error).__name__}: {error}"))


def _acted(act: Act, spec: ActionSpec, asked: messages.Act) -> messages.Message:
    wanted = (spec.image_height, spec.image_width, 3)
    if asked.image.shape != wanted:
        text = f"the picture is {asked.image.shape}, the policy takes {wanted}"
        return messages.Failure(asked.sequence, "observation", text)
    if spec.proprioception and asked.proprioception is None:
        return messages.Failure(asked.sequence, "observation", "the policy needs the arm's state")
    began_s = time.monotonic()
    try:
        steps = np.asarray(act(asked.image, asked.instruction, asked.proprioception), dtype=np.float64)
    except ValueError as error:
        return messages.Failure(asked.sequence, "observation", sentence(str(error)))
    except Exception as error:  # the policy's own failure: the client is told, the server goes on
        return _failed(asked.sequence, error)
    if steps.shape != (spec.horizon, 7) or not np.isfinite(steps).all():
        text = f"the policy made {steps.shape} numbers, its specification says ({spec.horizon}, 7), all finite"
        return messages.Failure(asked.sequence, "internal", text)
    took_ms = (time.monotonic() - began_s) * 1e3
    return messages.Result(asked.sequence, steps, {"policy": took_ms}, None)


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data
