"""What a benchmark asks, and what is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLICKR, CAPTIONS, VQA = "Flickr30k Entities", "Flickr30k captions", "VQAv2"
EXPRESSIONS = {"refcoco": "RefCOCO", "refcoco+": "RefCOCO+", "refcocog": "RefCOCOg"}
"""By `dataset_name`, as papers write them."""
NAMES = " names"
"""Behind one of these: its objects are to be named."""


@dataclass(frozen=True)
class Item:
    """What all questions have.

    Attributes:
        id: within its set.
        picture: name of its file. Questions about one picture hang together, and intervals know it.
    """

    id: str
    picture: str


@dataclass(frozen=True)
class PlaceItem(Item):
    """Where is this?

    Attributes:
        phrase: what is looked for.
        before: the caption in front of the phrase; "" for an expression that stands alone.
        boxes: (N, 4) x1 y1 x2 y2 in pixels, each of them right.
        size: width and height of the picture in pixels.
        kinds: such as people or bodyparts, where the set tells them.
    """

    phrase: str
    before: str
    boxes: NDArray[np.float64]
    size: tuple[int, int]
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class NameItem(Item):
    """What is this called?

    Attributes:
        box: (4,) x1 y1 x2 y2 as fractions of the picture.
        references: what people call it.
    """

    box: NDArray[np.float64]
    references: tuple[str, ...]


@dataclass(frozen=True)
class CaptionItem(Item):
    """What is in the picture? `references` are people's captions."""

    references: tuple[str, ...]


@dataclass(frozen=True)
class QuestionItem(Item):
    """A question in words.

    Attributes:
        answers: of several people; none where the set keeps them to itself.
        kind: yes/no, number or other.
    """

    question: str
    answers: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class ItemSet:
    """The questions of one annotation file.

    Attributes:
        benchmark: as papers call it; also the key of published figures.
        split: such as val or testA.
        items: all of one kind.
        notes: how the truth was read, for the report.
    """

    benchmark: str
    split: str
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
        boxes: (N, 4) x1 y1 x2 y2 as fractions of the picture, in the order in which they were said.
        text: in words.
        undecodable: the answer could not be read as what was asked for; it counts as wrong and is never repaired.
    """

    boxes: NDArray[np.float64]
    text: str = ""
    undecodable: bool = False


Answers = Mapping[str, Answer]
"""By the item's id."""
