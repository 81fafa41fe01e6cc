"""The sets by name: what a row of each is asked, and how its answer is judged."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_policy.errors import ScreenError
from magma_policy.screens.agent import Question
from magma_policy.screens.candidates import Candidate
from magma_policy.screens.offline import aitw, mind2web, screenspot, visualwebbench
from magma_policy.screens.offline.figures import Figure
from magma_policy.screens.offline.records import read_records
from magma_policy.screens.offline.screenspot import Boxes
from magma_policy.screens.offline.visualwebbench import Marks
from magma_policy.screens.pixels import pixel_candidates

NAMES = ("screenspot", "visualwebbench", "mind2web", "aitw")


@dataclass(frozen=True)
class Item:
    """One row that is asked: `score` judges an answer, for `Set.summary`."""

    id: str
    question: Question
    score: Callable[[str], Any]


class Set:
    """One published set on this disk.

    Args:
        name: one of `NAMES`.
        data: its file or folder.
        pictures: folder of pictures that records name; None: the data's own.
        boxes: of ScreenSpot: how records write boxes.
        marks: of VisualWebBench: the letters that are drawn in, or numbers drawn anew.
        source: of ScreenSpot: candidates of a picture, uint8 (H, W, 3) rgb.

    Raises:
        ScreenError: another name.
    """

    def __init__(
        self,
        name: str,
        data: Path,
        pictures: Path | None = None,
        boxes: Boxes = "by_field_names",
        marks: Marks = "letters",
        source: Callable[[NDArray[np.uint8]], list[Candidate]] = pixel_candidates,
    ) -> None:
        if name not in NAMES:
            raise ScreenError(f"no set {name!r}; there are {', '.join(NAMES)}")
        self._name, self._data, self._boxes, self._marks = name, data, boxes, marks
        self._pictures = pictures or (data if data.is_dir() else data.parent)
        self._source = source
        self._dropped = 0

    def items(self) -> Iterator[Item]:
        """Every row in turn. Raises ScreenError for a damaged one."""
        if self._name == "aitw":
            for phone in aitw.read(self._data):
                yield Item(phone.id, aitw.question(phone), functools.partial(aitw.score, phone))
            return
        records = read_records(self._data)
        if self._name == "screenspot":
            for spot in screenspot.rows(records, self._pictures, self._boxes):
                found = screenspot.candidates_of(spot, self._source)
                yield Item(
                    spot.id,
                    screenspot.question(spot, found),
                    functools.partial(screenspot.score, spot, found),
                )
        elif self._name == "visualwebbench":
            for page in visualwebbench.rows(records, self._pictures):
                yield Item(
                    page.id,
                    visualwebbench.question(page, self._marks),
                    functools.partial(visualwebbench.score, page, marks=self._marks),
                )
        else:
            self._dropped = 0
            for step in mind2web.rows(records, self._pictures):
                if step is None:
                    self._dropped += 1
                else:
                    yield Item(step.id, mind2web.question(step), functools.partial(mind2web.score, step))

    def summary(self, scores: Sequence[Any]) -> list[Figure]:
        """The figures of all scores; empty when there are none."""
        if not scores:
            return []
        if self._name == "mind2web":
            return mind2web.summary(scores, self._dropped)
        modules: dict[str, Any] = {"screenspot": screenspot, "visualwebbench": visualwebbench, "aitw": aitw}
        found: list[Figure] = modules[self._name].summary(scores)
        return found
