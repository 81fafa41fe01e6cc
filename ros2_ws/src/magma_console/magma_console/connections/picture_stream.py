"""Pictures to the pages, each page at its own pace: the newest one, when the page has shown the last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from starlette.websockets import WebSocket, WebSocketDisconnect

from magma_common.process.clocks import steady_s
from magma_console.config import ConsoleConfig
from magma_console.robot.pictures import NewestPicture

POLL_S = 0.01


class PictureStreams:
    """One connection per page and picture. Encoding is done once for all, in a thread of its own."""

    def __init__(self, config: Callable[[], ConsoleConfig], pictures: Mapping[str, NewestPicture]) -> None:
        self._config = config
        self._pictures = pictures
        self._pool = ThreadPoolExecutor(1, "pictures")
        self._viewers = 0

    def close(self) -> None:
        """Encodes no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def connect(self, socket: WebSocket) -> None:
        """Serves one page until it goes."""
        picture = self._pictures.get(socket.path_params["name"])
        if picture is None or self._viewers >= self._config().max_viewers:
            await socket.close(1008, "no such picture" if picture is None else "too many viewers")
            return
        await socket.accept()
        self._viewers += 1
        asked = asyncio.Event()
        listening = asyncio.create_task(_listen(socket, asked))
        sending = asyncio.create_task(self._send(socket, picture, asked))
        try:
            await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._viewers -= 1
            for task in (listening, sending):
                task.cancel()
            await asyncio.gather(listening, sending, return_exceptions=True)

    async def _send(self, socket: WebSocket, picture: NewestPicture, asked: asyncio.Event) -> None:
        shown, sent_s = 0, 0.0
        while True:
            await asked.wait()
            await asyncio.sleep(max(0.0, sent_s + 1.0 / self._config().picture_rate_hz - steady_s()))
            while picture.number == shown:
                await asyncio.sleep(POLL_S)
            shown, data = await self._encoded(picture)
            if data is not None:
                asked.clear()
                sent_s = steady_s()
                await socket.send_bytes(data)

    async def _encoded(self, picture: NewestPicture) -> tuple[int, bytes | None]:
        number = picture.number
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._pool, picture.encoded, self._config().jpeg_quality, time.time)
        except ValueError:
            return number, None  # the camera's subscriber says why
        return found if found is not None else (number, None)


async def _listen(socket: WebSocket, asked: asyncio.Event) -> None:
    """Whatever the page says means that it has shown the last picture."""
    with contextlib.suppress(WebSocketDisconnect, KeyError):
        while True:
            await socket.receive_text()
            asked.set()
