"""A server of magma-serve's in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from magma_policy.commands import serve

LONG_S = 60.0


@contextlib.contextmanager
def running(make, port=0):
    """The base of the URLs, http://127.0.0.1:PORT, of what `make` gives, a server and its batcher, while it runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start(listener):
        server, batcher = make()
        return server, batcher, await server.start(listener)

    with serve.bind("127.0.0.1", port) as listener:
        server, batcher, at = asyncio.run_coroutine_threadsafe(start(listener), loop).result(LONG_S)
        try:
            yield f"http://127.0.0.1:{at}"
        finally:
            assert batcher.stop(LONG_S)
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(LONG_S)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(LONG_S)
