"""Flickr30k Entities as its authors publish it: sentences with marked phrases, and an XML file of boxes a picture.

B. Plummer et al., "Flickr30k Entities", 2015. A phrase is `[/EN#283585/people An elderly man]`: its entity, its kinds,
its words. An entity without a box (the whole scene, or not to be seen) is not asked about.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, XMLParser

import numpy as np
from numpy.typing import NDArray

from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import read_text
from magma_eval.grounding.files import LARGEST_SIDE, AnnotationError
from magma_eval.typed import shown

LARGEST_PART = 4 * 2**20
"""Bytes of a picture's sentences or boxes; they have some thousands."""
_OPENS = re.compile(r"\[/EN#(?P<entity>\d{1,15})(?P<kinds>(?:/[A-Za-z]+)+)")


@dataclass(frozen=True)
class MarkedPhrase:
    """Characters [start, end) of a sentence that name an entity."""

    start: int
    end: int
    entity: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class MarkedSentence:
    """A caption with its phrases."""

    text: str
    phrases: tuple[MarkedPhrase, ...]


def read_sentences(path: Path) -> list[MarkedSentence]:
    """The captions of a picture, Sentences/NUMBER.txt. Raises AnnotationError."""
    lines = _text(path).split("\n")
    return [_sentence(f"{path}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]


def _sentence(where: str, line: str) -> MarkedSentence:
    words: list[str] = []
    phrases: list[MarkedPhrase] = []
    begun: tuple[int, str, tuple[str, ...]] | None = None
    for token in line.split():
        if begun is None and token.startswith("["):
            match = _OPENS.fullmatch(token)
            if match is None:
                raise AnnotationError(f"{where}: {shown(token)} does not begin a phrase as [/EN#NUMBER/KIND does")
            begun = (_length(words), match["entity"], tuple(match["kinds"].strip("/").split("/")))
            continue
        ends = begun is not None and token.endswith("]")
        words.append(token[:-1] if ends else token)
        if ends and begun is not None:
            start, entity, kinds = begun
            phrases.append(MarkedPhrase(start, len(" ".join(words)), entity, kinds))
            begun = None
    if begun is not None:
        raise AnnotationError(f"{where}: a phrase of entity {begun[1]} is not closed")
    return MarkedSentence(" ".join(words), tuple(phrases))


def _length(words: list[str]) -> int:
    """Where the next word begins."""
    return sum(len(word) + 1 for word in words)


def read_boxes(path: Path) -> dict[str, NDArray[np.float64]]:
    """The boxes (N, 4) of each entity of a picture that has any, x1 y1 x2 y2 in pixels, Annotations/NUMBER.xml.

    Raises:
        AnnotationError: no XML, or a box that is none.
    """
    found: dict[str, list[list[float]]] = defaultdict(list)
    for number, thing in enumerate(_xml(path).findall("object")):
        box = thing.find("bndbox")
        if box is None:
            continue
        where = f"{path}, object {number}"
        corners = [_pixel(where, box, name) for name in ("xmin", "ymin", "xmax", "ymax")]
        if corners[2] < corners[0] or corners[3] < corners[1]:
            raise AnnotationError(f"{where}: xmax or ymax is smaller than xmin or ymin")
        entities = [name.text for name in thing.findall("name")]
        if not entities:
            raise AnnotationError(f"{where}: a box of no entity, it has no name")
        for entity in entities:
            found[(entity or "").strip()].append(corners)
    return {entity: np.array(boxes) for entity, boxes in found.items()}


def _xml(path: Path) -> Element:
    # XML may define texts that grow without end as they are put in; these files define none.
    text = _text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise AnnotationError(f"{path}: defines entities of XML, which none of the published files does")
    parser = XMLParser()
    try:
        parser.feed(text)
        return parser.close()
    except (ParseError, ValueError) as error:
        raise AnnotationError(f"{path}: it is not XML: {error}") from error


def _pixel(where: str, box: Element, name: str) -> float:
    text = (box.findtext(name) or "").strip()
    if not re.fullmatch(r"-?\d{1,6}(\.\d{1,9})?", text) or abs(float(text)) > LARGEST_SIDE:
        raise AnnotationError(f"{where}: {name} must be a number of pixels, got {shown(text)}")
    return float(text)


def _text(path: Path) -> str:
    try:
        return read_text(path, LARGEST_PART)
    except ConfigError as error:
        raise AnnotationError(f"{path}: {error}") from error
