"""One picture with its caption on its way to a record, and what was left out on that way, counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from magma_contracts.geometry.boxes import apart
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
        overlap: of boxes of any phrases that overlap by more (intersection over union) the surest stays; 1 keeps all.
        contained: keep expressions within others, as the published records do.
        smallest_side: of a picture, in pixels (the paper: 200, for LAION's).
    """

    threshold: float | None = None
    overlap: float = 0.5
    contained: bool = True
    smallest_side: int = 0


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
        boxes = self._chosen(asked, found, counts)
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

    def _chosen(
        self, asked: Sequence[Chunk], found: Sequence[Found], counts: Counter[str]
    ) -> list[tuple[Chunk, Found]]:
        """Boxes that are sure enough and not another phrase's, by chunk and score."""
        counts["dropped chunk: not found"] += len(asked) - len({one.phrase for one in found})
        settings = self.settings
        threshold = self.detector.threshold if settings.threshold is None else settings.threshold
        apart_ones = apart([one.box for one in found], [one.score for one in found], settings.overlap)
        counts["dropped box: overlaps a surer one"] += len(found) - len(apart_ones)
        sure = [found[index] for index in apart_ones if found[index].score >= threshold]
        counts["dropped box: below the threshold"] += len(apart_ones) - len(sure)
        # The surest first within a chunk, chunks as they stand in the caption.
        return [(asked[one.phrase], one) for one in sorted(sure, key=lambda one: one.phrase)]


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _url(value: Any) -> str:
    return value if isinstance(value, str) and encodes(value) else ""
