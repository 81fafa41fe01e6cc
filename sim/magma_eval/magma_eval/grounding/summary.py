"""Answers to a set as figures with intervals, beside what no model at all would reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from magma_eval.grounding.answers import NO_BOXES
from magma_eval.grounding.caption_metrics import Scored, cider, meteor, tokenized
from magma_eval.grounding.items import FLICKR, Answer, Answers, CaptionItem, ItemSet, NameItem, PlaceItem, QuestionItem
from magma_eval.grounding.scoring import found, vqa_accuracy
from magma_eval.questions.summary import Score, score_of

FIRST = (1, 5, 10)
CIDER_TOP = 10.0
"""What CIDEr gives a text that is its reference."""
_WHOLE_PICTURE = Answer(np.array([[0.0, 0.0, 1.0, 1.0]]))
_MISSING = Answer(NO_BOXES, undecodable=True)


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: as published figures are called.
        score: a share, or CIDEr.
        count: of what it was counted; `pictures` of how many of these.
    """

    name: str
    score: Score
    count: int
    pictures: int


@dataclass(frozen=True)
class SetSummary:
    """Of one set.

    Attributes:
        undecodable: answers that could not be read, or named no box where one was asked for; they count as wrong.
        missing: questions without an answer; they count as wrong.
        floor: what an answer is worth that looks at nothing, and what that answer is.
    """

    set: ItemSet
    figures: tuple[Figure, ...]
    asked: int
    undecodable: int
    missing: int
    floor: tuple[Figure, ...] = ()


def summarise(items: ItemSet, answers: Answers) -> SetSummary:
    """Judges all questions of a set. Raises CaptionMetricsError where texts cannot be judged here, and ValueError for
    questions whose answers are not published."""
    first = items.items[0]
    said = [answers.get(item.id, _MISSING) for item in items.items]
    if isinstance(first, PlaceItem):
        figures, floor = _places(cast("Sequence[PlaceItem]", items.items), said, several=items.benchmark == FLICKR)
    elif isinstance(first, QuestionItem):
        figures, floor = _questions(cast("Sequence[QuestionItem]", items.items), said)
    else:
        figures, floor = _texts(cast("Sequence[NameItem | CaptionItem]", items.items), said), []
    missing = sum(item.id not in answers for item in items.items)
    unread = sum(
        answer.undecodable or not (len(answer.boxes) if isinstance(item, PlaceItem) else answer.text.strip())
        for item, answer in zip(items.items, said, strict=True)
        if item.id in answers
    )
    return SetSummary(items, tuple(figures), len(items.items), unread, missing, tuple(floor))


def _places(items: Sequence[PlaceItem], said: Sequence[Answer], *, several: bool) -> tuple[list[Figure], list[Figure]]:
    # An expression means one thing, a phrase may mean several.
    if not several:
        return [_shares("IoU >= 0.5", items, said, 1)], [
            _shares("IoU >= 0.5, whole picture", items, [_WHOLE_PICTURE] * len(items), 1)
        ]
    figures = []
    for protocol, merge in (("ANY-BOX", False), ("MERGED", True)):
        figures += [_shares(f"R@{first} {protocol}", items, said, first, merge=merge) for first in FIRST]
    for kind in sorted({kind for item in items for kind in item.kinds}):
        rows = [index for index, item in enumerate(items) if kind in item.kinds]
        own, own_said = [items[i] for i in rows], [said[i] for i in rows]
        figures += [_shares(f"R@{first} ANY-BOX {kind}", own, own_said, first) for first in FIRST]
    floor = [
        _shares(f"R@1 {protocol}, whole picture", items, [_WHOLE_PICTURE] * len(items), 1, merge=merge)
        for protocol, merge in (("ANY-BOX", False), ("MERGED", True))
    ]
    return figures, floor


def _shares(
    name: str, items: Sequence[PlaceItem], said: Sequence[Answer], first: int, *, merge: bool = False
) -> Figure:
    values = [float(found(item, answer, first, merge=merge)) for item, answer in zip(items, said, strict=True)]
    return _figure(name, values, items)


def _figure(name: str, values: Sequence[float], items: Sequence[PlaceItem | QuestionItem]) -> Figure:
    pictures = [item.picture for item in items]
    return Figure(name, score_of(values, pictures), len(items), len(set(pictures)))


def _questions(items: Sequence[QuestionItem], said: Sequence[Answer]) -> tuple[list[Figure], list[Figure]]:
    if not all(item.answers for item in items):
        raise ValueError(
            "the answers to these questions are not published: only the benchmark's own server judges them; "
            "--submission writes the file that it takes"
        )
    right = [
        0.0 if answer.undecodable else vqa_accuracy(answer.text, item.answers)
        for item, answer in zip(items, said, strict=True)
    ]
    figures = [_figure("accuracy", right, items)]
    for kind in sorted({item.kind for item in items}):
        rows = [index for index, item in enumerate(items) if item.kind == kind]
        figures.append(_figure(f"accuracy {kind}", [right[i] for i in rows], [items[i] for i in rows]))
    always = [vqa_accuracy("yes", item.answers) for item in items]
    return figures, [_figure('accuracy, always "yes"', always, items)]


def _texts(items: Sequence[NameItem | CaptionItem], said: Sequence[Answer]) -> list[Figure]:
    counts = [len(item.references) for item in items]
    texts = ["" if answer.undecodable else answer.text for answer in said]
    words = tokenized([*texts, *(text for item in items for text in item.references)])
    told, rest = words[: len(items)], words[len(items) :]
    references = []
    for count in counts:
        references.append(rest[:count])
        rest = rest[count:]
    metrics: list[tuple[str, Callable[..., Scored], float]] = [("CIDEr", cider, CIDER_TOP)]
    if isinstance(items[0], NameItem):
        metrics.insert(0, ("METEOR", meteor, 1.0))
    pictures = [item.picture for item in items]
    return [
        Figure(name, _around(metric(told, references), pictures, top), len(items), len(set(pictures)))
        for name, metric, top in metrics
    ]


def _around(scored: Scored, pictures: Sequence[str], top: float) -> Score:
    """The score of a set, with the interval of the mean of single scores moved to it."""
    mean = score_of([one / top for one in scored.single], pictures)
    low, high = (scored.whole + top * (end - mean.value) for end in (mean.low, mean.high))
    return Score(scored.whole, max(0.0, low), min(top, high), mean.method)
