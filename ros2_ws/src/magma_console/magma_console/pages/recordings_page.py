"""The page of recordings: begin and end one, say how an episode went, look at what there is, take it elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nicegui import run, ui

from magma_console.pages.jobs import Job, Jobs, JobsBusyError, inside
from magma_console.pages.recordings import OUTCOMES, Found, Recorder, find
from magma_console.robot.robot_view import RobotView

LOOK_S = 2.0
SHOWN = 30
FILES = "/files/recordings"
PLOT = "replay.png"


class RecordingsPage:
    """What all pages share: the recorder, and the summaries of recordings."""

    def __init__(
        self, folder: Path, recorder: Recorder, jobs: Jobs, view: RobotView, tag: Callable[[int, str], None]
    ) -> None:
        """
        Args:
            tag: says how an episode went: a number of EpisodeTag.msg and a note.
        """
        self._folder, self._recorder, self._jobs, self._view, self._tag = folder, recorder, jobs, view, tag
        self._summaries: dict[tuple[str, int, float], dict[str, Any]] = {}
        self._asked: set[tuple[str, int, float]] = set()

    def show(self) -> None:
        """Puts the elements into the page that is being made."""
        with ui.element("section").classes("card"):
            ui.label("Record").classes("heading")
            with ui.element("div").classes("row"):
                name = ui.input("name (empty = the time)").props("dense outlined")
                start = ui.button("Start recording", icon="fiber_manual_record").props("no-caps color=negative")
                stop = ui.button("Stop", icon="stop").props("no-caps outline")
                status = ui.label()
            ui.label("This episode").classes("heading")
            with ui.element("div").classes("row"):
                note = ui.input("note").props("dense outlined maxlength=500").classes("wide")
                marks = [
                    ui.button(text, icon=icon, on_click=lambda _, number=number: self._mark(number, note)).props(
                        f"no-caps color={colour}"
                    )
                    for number, text, icon, colour in (
                        (1, "Success", "check", "positive"),
                        (2, "Failure", "close", "negative"),
                        (0, "Note only", "edit_note", "primary outline"),
                    )
                ]
        start.on_click(lambda: self._start(name))
        stop.on_click(self._stop)
        shelf = ui.element("div").classes("shelf")
        shown: list[Any] = [None]

        async def look() -> None:
            running = self._recorder.running
            status.set_text(f"recording {self._recorder.name}" if running else "not recording: marks would not be kept")
            start.set_enabled(not running)
            stop.set_enabled(running)
            for button in marks:
                button.set_enabled(running)
            found = (await run.io_bound(find, self._folder))[:SHOWN]
            for item in found:
                self._summarize(item)
            now = [(item.version, item.version in self._summaries) for item in found], self._plots(found)
            if now != shown[0]:
                shown[0] = now
                shelf.clear()
                with shelf:
                    for item in found:
                        self._card(item)
                    if not found:
                        ui.label(f"no recordings in {self._folder.resolve()} yet").classes("muted")

        ui.timer(LOOK_S, look)

    def _plots(self, found: list[Found]) -> list[float]:
        return [path.stat().st_mtime if (path := self._folder / item.name / PLOT).is_file() else 0.0 for item in found]

    def _start(self, name: ui.input) -> None:
        try:
            started = self._recorder.start(name.value.strip())
        except (ValueError, OSError) as error:
            ui.notify(str(error), type="negative")
            return
        self._view.update(lambda state: state.recording({"name": started}))
        self._view.tell("note", f"recording {started}")
        name.set_value("")

    async def _stop(self) -> None:
        name = self._recorder.name
        await run.io_bound(self._recorder.stop)
        self._view.update(lambda state: state.recording({}))
        self._view.tell("note", f"recorded {name}")

    def _mark(self, number: int, note: ui.input) -> None:
        text = note.value.strip()
        if number == 0 and not text:
            ui.notify("write a note first", type="warning")
            return
        self._tag(number, text)
        self._view.tell("note", f"episode: {OUTCOMES[number]}{f', {text}' if text else ''}")
        ui.notify(f"kept: {OUTCOMES[number]}", type="positive")
        note.set_value("")

    def _summarize(self, item: Found) -> None:
        """Has a recording read that is no longer written to; once."""
        recorded = self._recorder.running and item.name == self._recorder.name
        if item.version in self._asked or recorded or time.time() - item.changed_s < LOOK_S:
            return

        def done(job: Job) -> None:
            try:
                self._summaries[item.version] = json.loads(job.output)
            except ValueError:
                self._summaries[item.version] = {"trouble": job.last_line or "it cannot be read"}

        try:
            self._jobs.start(
                f"read {item.name}", "magma_console.pages.recordings", [str(self._folder / item.name)], done
            )
        except JobsBusyError:
            return  # the next look asks again
        self._asked.add(item.version)

    def _card(self, item: Found) -> None:
        told = self._summaries.get(item.version, {})
        with ui.element("section").classes("card recording"):
            if told.get("picture"):
                ui.image(told["picture"]).classes("thumbnail")
            else:
                ui.element("div").classes("thumbnail")
            with ui.element("div").classes("about"):
                ui.label(item.name).classes("heading")
                ui.label(_in_words(item, told)).classes("muted")
                for tag in told.get("tags", [])[-6:]:
                    words = f"{tag['s']:.0f} s: {tag['outcome']}{' · ' + tag['note'] if tag['note'] else ''}"
                    ui.label(words).classes(f"tag {tag['outcome']}")
                with ui.element("div").classes("row"):
                    ui.button("Replay", icon="replay", on_click=lambda: self._replay(item.name)).props("no-caps flat")
                    ui.button("Export", icon="ios_share", on_click=lambda: self._export(item.name)).props(
                        "no-caps flat"
                    )
                if (self._folder / item.name / PLOT).is_file():
                    changed = (self._folder / item.name / PLOT).stat().st_mtime
                    with ui.expansion("asked, sent and executed").classes("plot"):
                        ui.image(f"{FILES}/{quote(item.name)}/{PLOT}?{changed:.0f}")

    def _replay(self, name: str) -> None:
        self._run(f"replay of {name}", "magma_recorder.replay_command", [str(inside(self._folder, name))])

    def _export(self, name: str) -> None:
        out = self._folder / "exports" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        self._run(
            f"export of {name}",
            "magma_recorder.export_command",
            [str(inside(self._folder, name)), "--out", str(out)],
        )

    def _run(self, title: str, module: str, arguments: list[str]) -> None:
        def done(job: Job) -> None:
            self._view.tell("note", f"{title}: {'done' if job.status == 0 else 'failed'}: {job.last_line}")

        try:
            self._jobs.start(title, module, arguments, done)
        except (JobsBusyError, OSError) as error:
            ui.notify(str(error), type="negative")
            return
        ui.notify(f"{title} has begun; its end is told among the events")


def _in_words(item: Found, told: dict[str, Any]) -> str:
    words = [time.strftime("%Y-%m-%d %H:%M", time.localtime(item.changed_s)), f"{item.size_bytes / 1e6:.1f} MB"]
    if "trouble" in told:
        words.append(told["trouble"])
    elif told:
        words += [f"{told['seconds']:.0f} s", f"{told['messages']} messages"]
        if not told["complete"]:
            words.append("cut off: magma-recording repair")
    return " · ".join(words)
