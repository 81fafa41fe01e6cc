"""Passes requests from one event loop to an ASGI application in another.

So the page framework has a loop and a thread of its own behind the one door: however long it is busy, the door goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class LoopBridge:
    """An ASGI application for the one loop, which calls `application` in the other."""

    def __init__(self, application: Application, inner: asyncio.AbstractEventLoop) -> None:
        self._application = application
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outer = asyncio.get_running_loop()

        async def receive_inside() -> Any:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_coroutine(receive()), outer))

        async def send_inside(message: Any) -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_coroutine(send(message)), outer))

        call = _coroutine(self._application(scope, receive_inside, send_inside))
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._inner))


async def _coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
