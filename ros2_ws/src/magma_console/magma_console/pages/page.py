"""The page: its frame of static files, and what the page framework adds to it."""

from __future__ import annotations

import html
import json

from nicegui import ui

from magma_console.config import ConsoleConfig
from magma_console.connections.door import STATIC
from magma_console.pages.evaluate_page import EvaluatePage
from magma_console.pages.recordings_page import RecordingsPage

HEAD = (
    '<link rel="stylesheet" href="/console/static/console.css">'
    '<script type="module" src="/console/static/console.js"></script>'
)


def build(config: ConsoleConfig, robot: str, recordings: RecordingsPage, evaluate: EvaluatePage) -> None:
    """Registers the page.

    Args:
        robot: the namespace that the arm lies in; empty = none.
    """
    shell = (STATIC / "shell.html").read_text(encoding="utf-8")
    live = (STATIC / "live.html").read_text(encoding="utf-8")
    name = html.escape(f"Magma · {robot}" if robot else "Magma")
    shell = shell.replace('<b id="robot-name">Magma</b>', f'<b id="robot-name">{name}</b>')
    presets = html.escape(json.dumps(list(config.presets)), quote=True)
    live = live.replace('id="presets"', f'id="presets" data-presets="{presets}"')

    @ui.page("/")
    def console() -> None:
        ui.add_head_html(HEAD)
        # Files of this package, without a word from the graph: nothing to sanitize.
        ui.html(shell, sanitize=False).classes("console bar-holder")
        ui.html(live, sanitize=False).classes("console page-live")
        with ui.element("main").classes("console sheet page-data"):
            recordings.show()
        with ui.element("main").classes("console sheet page-evaluate"):
            evaluate.show()
