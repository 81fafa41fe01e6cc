"""What one step on a page takes, part by part: look (elements and candidates), screenshot, marks drawn, model, action.

    .venv/bin/python tests/benchmarks/screen_step.py [CHECKPOINT] [--episodes N] [--threads N]

The pages are those that a policy is taught; the action is a click on the mark that the model names, or on one drawn by
chance where it names none or there is no model. `rest` is what the parts leave of the step as a whole. The page is
given no time to settle after the click, unlike in a policy's run. Medians and 95th percentiles in milliseconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from magma_policy.errors import ScreenError
from magma_policy.families.interface import TextModel
from magma_policy.marks.drawing import draw_box_marks
from magma_policy.screens.actions import Kind, ScreenAction, click_action
from magma_policy.screens.agent import Act, question_words
from magma_policy.screens.candidates import boxes_of
from magma_policy.screens.form import asked_form
from magma_policy.screens.miniwob.pages import LEARNED
from magma_policy.screens.miniwob.task import MiniWobTask

PARTS = ("look", "screenshot", "marks", "model", "action", "rest", "step")


class Clock:
    """Milliseconds by part, a row a step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.rows[-1][name] = 1e3 * (time.perf_counter() - begin)

    @contextmanager
    def step(self) -> Iterator[None]:
        self.rows.append({})
        with self.part("step"):
            yield
        row = self.rows[-1]
        row["rest"] = row["step"] - sum(value for name, value in row.items() if name != "step")

    def table(self) -> Iterator[str]:
        for name in PARTS:
            values = [row[name] for row in self.rows if name in row]
            if values:
                yield f"{name}: p50 {np.median(values):.1f} ms, p95 {np.percentile(values, 95):.1f} ms"


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    clock, rng = Clock(), np.random.default_rng(0)
    model = None if options.checkpoint is None else _loaded(options.checkpoint, options.threads)
    task = MiniWobTask(LEARNED[0], settle_ms=0.0)
    browser = task.browser
    try:
        for number in range(options.episodes):
            for name in LEARNED:
                task.show(name, f"step {number}")
                words = task.utterance()
                with clock.step():
                    with clock.part("look"):
                        candidates = browser.candidates(browser.elements())
                    with clock.part("screenshot"):
                        image = browser.screenshot()
                    with clock.part("marks"):
                        marked = draw_box_marks(image, boxes_of(candidates))
                    mark = int(rng.integers(len(candidates)))
                    if model is not None:
                        with clock.part("model"):
                            answer = model.chat(
                                question_words(asked_form(options.checkpoint), words, (), candidates), [marked]
                            ).text
                        mark = _named(answer, len(candidates), mark)
                    with clock.part("action"):
                        browser.perform(Act(ScreenAction(Kind.CLICK, mark), candidates[mark], candidates[mark].centre))
    finally:
        task.close()
    print(f"{len(clock.rows)} steps on {len(LEARNED)} pages, {options.threads} threads")
    for line in clock.table():
        print(line)


def _named(answer: str, count: int, other: int) -> int:
    try:
        mark = click_action(answer, count).mark
    except ScreenError:
        mark = None
    return other if mark is None else mark


def _loaded(folder: Path, threads: int) -> TextModel:
    import torch

    from magma_policy.families import registry

    torch.set_num_threads(threads)
    return registry.load(folder, "cpu", None, None, None, None)


if __name__ == "__main__":
    main()
