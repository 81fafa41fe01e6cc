"""The page of evaluations: begin one, see how far it is, and what came out."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nicegui import run, ui

from magma_console.pages.jobs import Job, Jobs, JobsBusyError
from magma_console.pages.runs import Run, find
from magma_console.robot.robot_view import RobotView
from magma_eval.suites import plain_tasks

LOOK_S = 4.0
FILES = "/files/runs"
POLICIES = ("magma-tiny", "expert", "hold", "random")
MOST_EPISODES = 100
EPISODE = re.compile(r"^episode +(\d+)/(\d+)", re.MULTILINE)


class EvaluatePage:
    """What all pages share: the runs that were begun here, beside those that lie there."""

    def __init__(self, folder: Path, jobs: Jobs, view: RobotView) -> None:
        self._folder, self._jobs, self._view = folder, jobs, view

    def show(self) -> None:
        """Puts the elements into the page that is being made."""
        with ui.element("section").classes("card"):
            ui.label("Play episodes in simulation").classes("heading")
            ui.label(
                "In a graph of its own, beside the robot and with less of the processor; other suites: magma-eval"
            ).classes("muted")
            with ui.element("div").classes("row"):
                task = ui.select(sorted(plain_tasks()), value="carrot_on_plate", label="task").props("dense outlined")
                policy = ui.select(list(POLICIES), value=POLICIES[0], label="policy").props("dense outlined")
                episodes = ui.number("episodes", value=10, min=1, max=MOST_EPISODES, precision=0).props(
                    "dense outlined"
                )
                ui.button(
                    "Start", icon="play_arrow", on_click=lambda: self._start(task.value, policy.value, episodes.value)
                ).props("no-caps color=primary")
        playing = ui.element("div")
        shelf = ui.element("div").classes("shelf wide-cards")
        shown: list[Any] = [None, None]

        async def look() -> None:
            jobs = [(job, _progress(job)) for job in self._jobs.running if job.title.startswith("run ")]
            now = [(job.title, done) for job, done in jobs]
            if now != shown[0]:
                shown[0] = now
                playing.clear()
                with playing:
                    for job, (done, count) in jobs:
                        self._progress_card(job, done, count)
            found = await run.io_bound(find, self._folder)
            if found != shown[1]:
                shown[1] = found
                shelf.clear()
                with shelf:
                    for item in found:
                        _card(item)
                    if not found:
                        ui.label(f"no evaluations in {self._folder.resolve()} yet").classes("muted")

        ui.timer(LOOK_S, look)

    def _start(self, task: str, policy: str, episodes: float | None) -> None:
        if task not in plain_tasks() or policy not in POLICIES or not 1 <= (episodes or 0) <= MOST_EPISODES:
            ui.notify(f"choose a task, a policy and 1 to {MOST_EPISODES} episodes", type="negative")
            return
        count = int(episodes or 1)
        out = self._folder / "console" / f"{time.strftime('%Y%m%d-%H%M%S')}-{task}-{policy}"

        def done(job: Job) -> None:
            self._view.tell("note", f"{job.title} {'is done' if job.status == 0 else 'failed'}: {job.last_line}")

        arguments = ["--task", task, "--policy", policy, "--episodes", str(count), "--out", str(out)]
        try:
            self._jobs.start(f"run {task}, {policy}", "magma_bringup.demo", arguments, done, alone=True)
        except (JobsBusyError, OSError) as error:
            ui.notify(str(error), type="negative")

    @staticmethod
    def _progress_card(job: Job, done: int, count: int) -> None:
        with ui.element("section").classes("card"):
            ui.label(f"{job.title}: {f'{done} of {count} episodes' if count else 'the graph is starting'}").classes(
                "heading"
            )
            ui.linear_progress(done / count if count else 0.0, show_value=False)
            ui.button("Cancel", icon="close", on_click=job.process.terminate).props("no-caps flat")


def _progress(job: Job) -> tuple[int, int]:
    found = EPISODE.findall(job.output)
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 0)


def _card(item: Run) -> None:
    with ui.element("section").classes("card"):
        ui.label(item.name).classes("heading")
        ui.label(item.policy or "–").classes("muted")
        ui.label(item.trouble or item.rate).classes("rate" if not item.trouble else "muted")
        if item.report:
            ui.link("report", f"{FILES}/{quote(item.name)}/{quote(item.report)}", new_tab=True)
        if item.films:
            with ui.expansion(f"{len(item.films)} films"), ui.element("div").classes("films"):
                for film in item.films:
                    with ui.element("figure"):
                        ui.video(f"{FILES}/{quote(item.name)}/{quote(film)}").props("preload=none")
                        ui.label(film).classes("muted")
