"""The only way out of the browser: a proxy on this machine that connects to allowed origins and to nothing else.

Rules inside the browser see a page's requests, but not every redirect, worker or prefetch; what is refused here does
not leave, whoever asked for it. It reads no contents: an encrypted connection is passed on as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from urllib.parse import urlsplit

from magma_policy.screens.network_rules import origin_of

_MOST_HEAD = 65536
_PATIENCE_S = 30.0
_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_UNREACHED = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_OPEN = b"HTTP/1.1 200 Connection Established\r\n\r\n"


class AllowProxy:
    """An HTTP proxy on 127.0.0.1, in a thread of its own, until `close`.

    Args:
        allowed: origins, as `network_rules.origin_of` writes them.
    """

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        started: threading.Event = threading.Event()
        self._server: asyncio.Server | None = None

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
            started.set()
            self._loop.run_forever()
            self._loop.run_until_complete(self._end())
            self._loop.close()

        self._thread = threading.Thread(target=run, name="allow-proxy", daemon=True)
        self._thread.start()
        if not started.wait(_PATIENCE_S) or self._server is None:
            raise RuntimeError("the proxy did not start")
        self.port: int = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Ends every connection."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE_S)
            await self._pass_on(head, reader, writer)
        writer.close()

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, _, fields = head[:_MOST_HEAD].decode("latin-1").partition("\r\n")
        method, _, rest = line.partition(" ")
        target = rest.rpartition(" ")[0]
        tunnel = method.upper() == "CONNECT"
        # A tunnel names no scheme: it is for what is encrypted, or for a WebSocket.
        origins = [f"https://{target}", f"http://{target}"] if tunnel else [target]
        if not any(origin_of(origin) in self._allowed for origin in origins):
            writer.write(_REFUSED)
            return
        parts = urlsplit(f"//{target}" if tunnel else target)
        try:
            there, back = await asyncio.open_connection(parts.hostname, parts.port or (443 if tunnel else 80))
        except OSError:
            writer.write(_UNREACHED)
            return
        if tunnel:
            writer.write(_OPEN)
        else:
            path = parts._replace(scheme="", netloc="").geturl() or "/"
            # One request per connection: the next one on it might be for another host.
            kept = [item for item in fields.split("\r\n") if not item.lower().startswith(("connection:", "proxy-"))]
            back.write(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n".encode("latin-1"))
            back.write("\r\n".join(kept).encode("latin-1"))
        try:
            await asyncio.gather(_pipe(reader, back), _pipe(there, writer))
        finally:
            back.close()


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError):
        if sink.can_write_eof():
            sink.write_eof()
        else:
            sink.close()
