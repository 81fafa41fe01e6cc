"""The page framework's thread: NiceGUI on an event loop of its own, behind the door."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from nicegui import ui
from starlette.staticfiles import StaticFiles

from magma_console.config import ConsoleConfig
from magma_console.connections.loop_bridge import LoopBridge
from magma_console.pages import evaluate_page, recordings_page
from magma_console.pages.evaluate_page import EvaluatePage
from magma_console.pages.jobs import Jobs
from magma_console.pages.page import build
from magma_console.pages.recordings import Recorder
from magma_console.pages.recordings_page import RecordingsPage
from magma_console.robot.robot_view import RobotView

START_S = 60.0
CLOSING_S = 2.0
RECONNECT_S = 60.0
"""A page that lost its connection goes on where it was; it is not loaded anew under an operator's hands."""


class PageServer:
    """Builds the pages and runs them; see `LoopBridge`."""

    def __init__(self, config: ConsoleConfig, robot: str, view: RobotView, tag: Callable[[int, str], None]) -> None:
        """
        Args:
            robot: the namespace that the arm lies in; empty = none.
            tag: says how an episode went: a number of EpisodeTag.msg and a note.
        """
        logging.getLogger("nicegui").setLevel(logging.WARNING)
        recordings, runs = Path(config.recordings).expanduser(), Path(config.runs).expanduser()
        self._jobs = Jobs()
        self._recorder = Recorder(recordings, robot)
        build(
            config,
            robot,
            RecordingsPage(recordings, self._recorder, self._jobs, view, tag),
            EvaluatePage(runs, self._jobs, view),
        )
        self._app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        for path, folder in ((recordings_page.FILES, recordings), (evaluate_page.FILES, runs)):
            self._app.mount(path, StaticFiles(directory=folder, check_dir=False))
        ui.run_with(
            self._app,
            title="Magma console" + (f" · {robot}" if robot else ""),
            dark=None,
            tailwind=False,
            reconnect_timeout=RECONNECT_S,
            show_welcome_message=False,
        )
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> LoopBridge:
        """Runs them; returns the application for the door's loop."""
        self._thread.start()
        self._ready.wait(START_S)
        return LoopBridge(self._app, self._loop)

    def close(self) -> None:
        """Ends them, what they started, and the recording."""
        self._recorder.stop()
        self._jobs.close()
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(CLOSING_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with self._app.router.lifespan_context(self._app):
            self._ready.set()
            await self._end.wait()
