"""What KOSMOS-2 answered, read from its ids: a text, and which phrases of it are where.

Read, never repaired: a box that is cut, turned round or of one corner is none, and what stands around it stays text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from magma_contracts.grounding import Entity, GroundedText
from magma_policy.families.kosmos2.locations import decode_cells, is_ordered
from magma_policy.families.kosmos2.vocabulary import Vocabulary


@dataclass
class _Reading:
    vocabulary: Vocabulary
    keep_turned: bool = False
    text: str = ""
    entities: list[Entity] = field(default_factory=list)
    corners: list[np.ndarray] = field(default_factory=list)
    malformed: int = 0
    opened: int | None = None
    """Where in the text the phrase begins that is open."""
    phrase: tuple[int, int] | None = None
    """The span of the phrase that was just closed, which a group of boxes may follow."""


def parse(vocabulary: Vocabulary, ids: Sequence[int]) -> GroundedText:
    """Reads ids of an answer, or of a whole sequence with its prompt. Never raises, whatever the ids are."""
    return parse_corners(vocabulary, ids)[0]


def parse_corners(
    vocabulary: Vocabulary, ids: Sequence[int], *, keep_turned: bool = False
) -> tuple[GroundedText, list[np.ndarray]]:
    """`parse`, and for each entity (N, 2) indices into the ids of the two corners of its boxes.

    `keep_turned`: a pair that is turned round keeps its place among the others as a box without area (all 0), for
    benchmarks that count the first k.
    """
    reading = _Reading(vocabulary, keep_turned)
    index = 0
    while index < len(ids):
        id_ = int(ids[index])
        if id_ == vocabulary.image_open:
            index = _behind_picture(vocabulary, ids, index)
            continue
        if id_ == vocabulary.object_open:
            index = _read_group(reading, ids, index)
            reading.phrase = None
            continue
        if id_ == vocabulary.phrase_open:
            reading.opened, reading.phrase = len(reading.text), None
        elif id_ == vocabulary.phrase_close:
            reading.phrase = None if reading.opened is None else (reading.opened, len(reading.text))
            reading.opened = None
        elif vocabulary.is_text(id_):
            reading.text += vocabulary.decode([id_])
            reading.phrase = None
        elif vocabulary.is_place(id_):
            reading.malformed += 1
            while index + 1 < len(ids) and vocabulary.is_place(int(ids[index + 1])):
                index += 1
        index += 1
    return _trimmed(reading), reading.corners


def _behind_picture(vocabulary: Vocabulary, ids: Sequence[int], index: int) -> int:
    """The index behind a picture's places, which have the ids of words."""
    end = index + 1 + vocabulary.latents
    if end < len(ids) and int(ids[end]) == vocabulary.image_close:
        return end + 1
    return index + 1


def _read_group(reading: _Reading, ids: Sequence[int], start: int) -> int:
    """Reads `<object>` and what follows up to `</object>`; returns the index behind it.

    Of an answer that was cut the whole pairs count. A pair that is turned round is no box, the others stay; any other
    number of corners makes the group none.
    """
    vocabulary = reading.vocabulary
    index, groups = start + 1, [[]]  # type: tuple[int, list[list[int]]]
    while index < len(ids) and (vocabulary.is_place(int(ids[index])) or int(ids[index]) == vocabulary.delimiter):
        if int(ids[index]) == vocabulary.delimiter:
            groups.append([])
        else:
            groups[-1].append(index)
        index += 1
    cut = index == len(ids)
    closed = not cut and int(ids[index]) == vocabulary.object_close
    if cut and len(groups[-1]) < 2:
        groups.pop()
    if (not cut and not closed) or not groups or any(len(group) != 2 for group in groups):
        reading.malformed += 1
        return index + closed
    cells = np.array([[vocabulary.cell(int(ids[place])) for place in group] for group in groups])
    fine = np.array([is_ordered(first, last, vocabulary.bins) for first, last in cells.tolist()])
    reading.malformed += int((~fine).sum())
    kept = fine | reading.keep_turned
    if kept.any():
        span = reading.phrase if reading.phrase is not None else (len(reading.text), len(reading.text))
        boxes = np.zeros((len(cells), 4))
        boxes[fine] = decode_cells(cells[fine], vocabulary.bins)
        boxes = boxes[kept]
        reading.entities.append(Entity(reading.text[slice(*span)], span, boxes, np.full(len(boxes), np.nan)))
        reading.corners.append(np.array(groups)[kept])
    return index + closed


def _trimmed(reading: _Reading) -> GroundedText:
    """Without the spaces around the text and around each phrase."""
    text = reading.text.strip()
    shift = len(reading.text) - len(reading.text.lstrip())
    entities = []
    for entity in reading.entities:
        start, end = (min(max(place - shift, 0), len(text)) for place in entity.span)
        phrase = text[start:end]
        start += len(phrase) - len(phrase.lstrip())
        phrase = phrase.strip()
        entities.append(Entity(phrase, (start, start + len(phrase)), entity.boxes, entity.confidences))
    return GroundedText(text, tuple(entities), reading.malformed)
