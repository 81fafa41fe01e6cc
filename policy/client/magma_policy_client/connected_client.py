"""The connection to a model's server, whatever is spoken: one thread of its own, deadlines that hold, and a way back
when it was lost."""

from __future__ import annotations

import abc
import asyncio
import concurrent.futures
import contextlib
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.protocol import State

from magma_policy_client.codec import MAX_BUDGET_S
from magma_policy_client.errors import (
    ConnectionLostError,
    PolicyClientError,
    PolicyTimeoutError,
    ProtocolError,
    RefusedError,
)

DEFAULT_PORT = 8765
DEFAULT_TIMEOUT_S = 10.0
CLOSING_S = 1.0

T = TypeVar("T")
ClientT = TypeVar("ClientT", bound="ConnectedClient")


class ConnectedClient(abc.ABC):
    """Connection to a model's server, whatever is spoken on it.

    Connects at construction, and again by itself whenever a call finds no connection. May be used from any thread, one
    call at a time: a second caller waits for the first, within its own deadline. It has a thread of its own, so make it
    after forking.

    Every call ends by its deadline, whatever the server or the network does. An answer that comes later is dropped and
    can never be returned by a later call.
    """

    def __init__(self, url: str, timeout_s: float, most_bytes: int) -> None:
        """
        Args:
            url: of the websocket, `ws://host:port` or `wss://host:port`.
            timeout_s: deadline for connecting, and for calls that name none.
            most_bytes: of a message that the server sends; a longer one ends the connection.

        Raises:
            ValueError: the URL or timeout makes no sense.
            PolicyClientError: see the kinds in `magma_policy_client.errors`.
        """
        self._url = check_url(url)
        self._timeout_s = check_seconds(timeout_s, "timeout_s")
        self._most_bytes = most_bytes
        self._busy = threading.Lock()
        self._sequence = 0
        self._connection: ClientConnection | None = None
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="policy client", daemon=True)
        self._thread.start()
        try:
            self._call(lambda _: self._connected(), self._timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return self._url

    @property
    def connected(self) -> bool:
        """Whether there is a connection as far as is known."""
        connection = self._connection
        return connection is not None and connection.state is State.OPEN

    def close(self) -> None:
        """Closes the connection; takes at most about a second. The client cannot be used afterwards."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result(2 * CLOSING_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSING_S)
        if not self._thread.is_alive():
            self._loop.close()

    def __enter__(self: ClientT) -> ClientT:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is said is a subclass's business.

    @abc.abstractmethod
    def _headers(self) -> dict[str, str] | None:
        """Headers of the request for a connection."""

    @abc.abstractmethod
    async def _greet(self, connection: ClientConnection) -> None:
        """The first words on a new connection. Raises a PolicyClientError for a server that is not the right one."""

    # The caller's thread.

    def _call(self, work: Callable[[float], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        if self._closed:
            raise ConnectionLostError("this client was closed")
        deadline_s = time.monotonic() + timeout_s
        if not self._busy.acquire(timeout=timeout_s):
            raise PolicyTimeoutError(f"another call to {self._url} took longer than {timeout_s:g} s")
        try:
            future = asyncio.run_coroutine_threadsafe(self._limited(work, deadline_s, timeout_s), self._loop)
            try:
                return future.result()
            except concurrent.futures.CancelledError:
                raise ConnectionLostError("this client was closed") from None
            except BaseException:
                future.cancel()  # Ctrl-C: the thread must not go on with a call that nobody waits for
                raise
        finally:
            self._busy.release()

    # The client's own thread.

    async def _limited(self, work: Callable[[float], Coroutine[Any, Any, T]], deadline_s: float, timeout_s: float) -> T:
        try:
            made = await asyncio.wait_for(work(deadline_s), max(0.0, deadline_s - time.monotonic()))
            time_left(deadline_s)  # what came in time but took too long to read is late too
            return made
        except PolicyClientError:
            raise
        except (asyncio.TimeoutError, TimeoutError):
            raise PolicyTimeoutError(f"no answer from {self._url} within {timeout_s:g} s") from None

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    async def _connected(self) -> ClientConnection:
        if self._connection is not None and self._connection.state is State.OPEN:
            return self._connection
        connection: ClientConnection | None = None
        try:
            connection = await connect(
                self._url,
                additional_headers=self._headers(),
                compression=None,  # pixels hardly shrink, and packing them takes longer than sending them
                max_size=self._most_bytes,
                max_queue=4,
                close_timeout=CLOSING_S,
                open_timeout=None,  # the call's own deadline holds
                proxy=None,
            )
            await self._greet(connection)
        except asyncio.CancelledError:
            if connection is not None:
                self._drop(connection)
            raise
        except Exception as error:
            if connection is not None:
                self._drop(connection)
            raise self._why_not(error) from error
        self._connection = connection
        return connection

    async def _send(self, connection: ClientConnection, data: bytes) -> None:
        try:
            await connection.send(data)
        except asyncio.CancelledError:
            # The server does not read. What is half sent can only be late; a fresh connection is worth more.
            self._drop(connection)
            raise

    @contextlib.contextmanager
    def _dropped_when_broken(self, connection: ClientConnection) -> Iterator[None]:
        """A connection that was lost, or on which nonsense came, is given up, and the error says so."""
        try:
            yield
        except ConnectionClosed as error:
            self._drop(connection)
            raise ConnectionLostError(f"lost the connection to {self._url}: {error}") from error
        except ProtocolError:
            self._drop(connection)
            raise

    def _why_not(self, error: Exception) -> Exception:
        """The error that tells a person why there is no connection."""
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            said = (error.response.body or b"").decode("utf-8", "replace").strip()[:200]
            if status == 401:
                return RefusedError("token", f"{self._url}: {said or 'wrong or missing token'}")
            if status == 503:
                return RefusedError("overloaded", f"{self._url}: {said or 'no room for another client'}")
            return ConnectionLostError(f"{self._url} is no policy server: HTTP {status} {said}")
        if isinstance(error, PolicyClientError):
            return error
        if isinstance(error, (InvalidHandshake, WebSocketException, EOFError)):
            return ConnectionLostError(f"{self._url} is no policy server or closed the connection: {error}")
        if isinstance(error, OSError):
            return ConnectionLostError(f"cannot connect to {self._url}: {error}")
        return error

    def _drop(self, connection: ClientConnection) -> None:
        if self._connection is connection:
            self._connection = None
        transport = connection.transport
        if transport is not None:
            transport.abort()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        # Whoever waits in another thread is let go.
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()


def check_url(url: str) -> str:
    """The URL itself. Raises ValueError unless it is ws:// or wss:// with a host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"the URL of a policy server looks like ws://host:port, got {url!r}")
    if port is None and parts.scheme == "ws":
        raise ValueError(f"{url!r} names no port; a server's default is {DEFAULT_PORT}")
    return url


def check_seconds(value: float, name: str) -> float:
    """The number itself. Raises ValueError unless it is one of seconds."""
    if not (math.isfinite(value) and 0.0 < value <= MAX_BUDGET_S):
        raise ValueError(f"{name} must be a number of seconds in (0, {MAX_BUDGET_S:g}], got {value}")
    return float(value)


def time_left(deadline_s: float) -> float:
    """Seconds until a deadline, on `time.monotonic`'s clock. Raises TimeoutError when it has passed."""
    left = deadline_s - time.monotonic()
    if left <= 0.0:
        raise asyncio.TimeoutError
    return left
