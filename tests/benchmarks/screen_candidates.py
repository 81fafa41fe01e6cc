"""Which share of what can be acted on each source of candidates finds, on the pages of MiniWoB++.

    .venv/bin/python tests/benchmarks/screen_candidates.py [--pages N] [--first N] [--read]

The truth are the page's own controls: links, buttons, fields, boxes to tick, lists and their like that are enabled,
seen and reached by a click at their middle. A source finds one when the middle of it lies in a candidate whose middle
lies in it (so that a click on the candidate hits it), and closely when their overlap is at least half. Pages without
controls count for the candidates per page alone. The page's elements are a source too: what it misses or adds are
drawings that listen, and labels folded into their controls.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from magma_contracts.geometry.boxes import holds, overlap
from magma_eval.confidence_intervals import Rate
from magma_policy.screens.candidates import Candidate, boxes_of, tidied
from magma_policy.screens.miniwob.observation import HEIGHT, SCALE, WIDTH
from magma_policy.screens.miniwob.pages import TASKS
from magma_policy.screens.miniwob.task import MiniWobTask
from magma_policy.screens.page_candidates import page_candidates, role_of
from magma_policy.screens.page_snapshot import Element
from magma_policy.screens.pixels import pixel_candidates
from magma_policy.screens.reading import Reader

SOURCES = ("elements", "accessibility", "pixels", "pixels and words")


def controls(elements: Sequence[Element], reached: set[str]) -> np.ndarray:
    """Boxes (N, 4) of the controls of a page, in pixels of its picture."""
    found = [
        element.box
        for element in elements
        if element.box is not None and role_of(element) and str(element.node) in reached
    ]
    return SCALE * np.array(found, dtype=np.float64).reshape(-1, 4)


def hits(truth: np.ndarray, candidates: Sequence[Candidate]) -> tuple[int, int]:
    """How many of the boxes (N, 4) are found, and how many closely."""
    boxes = boxes_of(candidates)
    found = closely = 0
    for box in truth:
        middle = ((box[0] + box[2]) / 2.0, (box[1] + box[3]) / 2.0)
        found += any(holds(item.box, middle) and holds(box, item.centre) for item in candidates)
        closely += bool(len(boxes)) and bool((overlap(box, boxes) >= 0.5).any())
    return found, closely


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=len(TASKS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--read", action="store_true", help="with Tesseract's words too; about a second a page more")
    options = parser.parse_args()
    pages = TASKS[options.first :][: options.pages]
    reader = Reader() if options.read else None
    counts = {name: np.zeros(4, dtype=int) for name in SOURCES}
    # One browser for all: to start one takes longer than to look at a page.
    task = MiniWobTask(pages[0], settle_ms=0.0)
    browser = task.browser
    try:
        for name in pages:
            task.show(name, "recall")
            elements, image = browser.elements(), browser.screenshot()
            # A click at the middle reaches it: the same test for the truth as for what is offered.
            reached = {item.key for item in browser.reached(page_candidates(elements), elements)}
            truth = controls(elements, reached)
            offered = {
                "elements": browser.candidates(elements),
                "accessibility": list(browser.accessible_view().candidates),
                "pixels": tidied(pixel_candidates(image), round(WIDTH * SCALE), round(HEIGHT * SCALE)),
            }
            if reader is not None:
                read = reader.after(pixel_candidates)(image)
                offered["pixels and words"] = tidied(read, round(WIDTH * SCALE), round(HEIGHT * SCALE))
            for source, candidates in offered.items():
                counts[source] += (len(truth), *hits(truth, candidates), len(candidates))
    finally:
        task.close()
    print(f"{len(pages)} pages, {counts['elements'][0]} controls")
    for source, (total, found, closely, offered_count) in counts.items():
        if source == "pixels and words" and reader is None:
            continue
        print(f"{source}: found {Rate(int(found), int(total))}, overlap of half {Rate(int(closely), int(total))}, "
              f"{offered_count / len(pages):.1f} candidates a page")  # fmt: skip


if __name__ == "__main__":
    main()
