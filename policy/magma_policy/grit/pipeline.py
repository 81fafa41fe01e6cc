"""One picture with its caption on its way to a record, and what was left out on that way, counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from magma_contracts.geometry.boxes import apart, overlap
from magma_contracts.text import encodes
from magma_policy.errors import CommandError
from magma_policy.grit.detectors import Detector, Found
from magma_policy.grit.pairs import Pair
from magma_policy.grit.phrases import BATCH, Chunk, Parser
from magma_policy.grit.records import PhraseBox, Record, outermost, similarities


@dataclass(frozen=True)
class SelectionSettings:
    """Which boxes stay.

    Attributes:
        threshold: smallest score; None: the detector's own.
        overlap: of boxes of any phrases that overlap by more (intersection over union) the surest stays, of equally
            sure ones that of the phrase with the fewest boxes, which says most; 1 keeps all.
        contained: keep expressions within others, as the published records do.
        smallest_side: of a picture, in pixels (the paper: 200, for LAION's).
        agreement: of several boxes of a chunk that grows, those stay that the detector also finds by the expression.
    """

    threshold: float | None = None
    overlap: float = 0.5
    contained: bool = True
    smallest_side: int = 0
    agreement: bool = True


AGREED = 0.5
"""Intersection over union from which a box of a chunk and one of its expression are the same."""


class Pipeline:
    """Parser, detector and rules."""

    def __init__(self, parser: Parser, detector: Detector, settings: SelectionSettings | None = None) -> None:
        self.parser, self.detector, self.settings = parser, detector, settings or SelectionSettings()

    def records(self, pairs: Iterable[Pair], counts: Counter[str]) -> Iterator[tuple[Pair, Record]]:
        """The records of pairs, in order. `counts` gets what came, what stayed, and what was dropped and why."""
        waiting = iter(pairs)
        while batch := list(islice(waiting, BATCH)):
            for pair, chunks in zip(batch, self.parser.chunks([pair.caption for pair in batch]), strict=True):
                counts["pairs"] += 1
                record = self._record(pair, chunks, counts)
                if record is not None:
                    counts["records"] += 1
                    yield pair, record

    def _record(self, pair: Pair, chunks: Sequence[Chunk], counts: Counter[str]) -> Record | None:
        counts["chunks"] += len(chunks)
        asked = [chunk for chunk in chunks if chunk.dropped is None]
        for chunk in chunks:
            if chunk.dropped is not None:
                counts[f"dropped chunk: {chunk.dropped}"] += 1
        if not asked:
            counts["dropped picture: nothing to look for"] += 1
            return None
        try:
            image = pair.image()
        except CommandError:
            counts["dropped picture: cannot be read"] += 1
            return None
        height, width = image.shape[:2]
        if min(height, width) < self.settings.smallest_side:
            counts["dropped picture: too small"] += 1
            return None
        found = self.detector.ground(image, [pair.caption[chunk.start : chunk.end] for chunk in asked], pair.key)
        counts["dropped chunk: not found"] += len(asked) - len({one.phrase for one in found})
        sure = self._sure(found)
        counts["dropped box: below the threshold"] += len(found) - len(sure)
        agreed = self._agreed(pair, image, asked, sure) if self.settings.agreement else sure
        counts["dropped box: not of the expression"] += len(sure) - len(agreed)
        boxes = self._apart(asked, agreed)
        counts["dropped box: overlaps a surer one"] += len(agreed) - len(boxes)
        if not boxes:
            counts["dropped picture: no box"] += 1
            return None
        rows = [PhraseBox(chunk.start, chunk.end, one.box, round(one.score, 8)) for chunk, one in boxes]
        grown = [PhraseBox(*chunk.expression, one.box, round(one.score, 8)) for chunk, one in boxes]
        left = outermost(grown)
        counts["contained expressions"] += len(grown) - len(left)
        counts["boxes"] += len(rows)
        return Record(
            key=pair.key,
            caption=pair.caption,
            size=(width, height),
            chunks=tuple(rows),
            expressions=tuple(grown if self.settings.contained else left),
            id=_number(pair.fields.get("id")),
            url=_url(pair.fields.get("url")),
            similarities=similarities(pair.fields),
        )

    def _sure(self, found: Sequence[Found]) -> list[Found]:
        threshold = self.detector.threshold if self.settings.threshold is None else self.settings.threshold
        return [one for one in found if one.score >= threshold]

    def _agreed(self, pair: Pair, image: np.ndarray, asked: Sequence[Chunk], found: Sequence[Found]) -> Sequence[Found]:
        """Without the boxes that only a chunk has: by "the block" two blocks are found, and by "the block on the left",
        which the caption says, one of them. Where the expression leads to none of them, all stay."""
        several = [
            number
            for number, chunk in enumerate(asked)
            if chunk.expression != (chunk.start, chunk.end) and self._places(found, number) > 1
        ]
        if not several:
            return found
        expressions = [pair.caption[slice(*asked[number].expression)] for number in several]
        boxes: dict[int, list[Sequence[float]]] = {}
        for one in self._sure(self.detector.ground(image, expressions, pair.key)):
            boxes.setdefault(several[one.phrase], []).append(one.box)
        meant = [one.phrase in boxes and float(overlap(one.box, boxes[one.phrase]).max()) >= AGREED for one in found]
        agreed = {one.phrase for one, said in zip(found, meant, strict=True) if said}
        return [one for one, said in zip(found, meant, strict=True) if said or one.phrase not in agreed]

    def _places(self, found: Sequence[Found], number: int) -> int:
        """At how many places a phrase is found."""
        own = [one for one in found if one.phrase == number]
        return len(apart([one.box for one in own], [one.score for one in own], AGREED))

    def _apart(self, asked: Sequence[Chunk], found: Sequence[Found]) -> list[tuple[Chunk, Found]]:
        """Boxes that are not another phrase's, by chunk and score."""
        many = Counter(one.phrase for one in found)
        ordered = sorted(found, key=lambda one: many[one.phrase])
        kept = apart([one.box for one in ordered], [one.score for one in ordered], self.settings.overlap)
        # The surest first within a chunk, chunks as they stand in the caption.
        return [(asked[one.phrase], one) for one in sorted((ordered[i] for i in kept), key=lambda one: one.phrase)]


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _url(value: Any) -> str:
    return value if isinstance(value, str) and encodes(value) else ""
