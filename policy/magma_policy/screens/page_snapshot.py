"""A web page as the browser itself describes it, read into plain elements: what Chromium's DevTools protocol answers to
`DOMSnapshot.captureSnapshot`.

No script of ours runs in the page and none of the page's runs here, so that a page cannot lie about where its elements
are, what stands on them and what they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from magma_contracts.text import printable
from magma_policy.errors import ScreenError

STYLES = ("cursor", "visibility", "opacity", "pointer-events")
"""Computed styles that the snapshot must be asked for, in this order."""
MOST_NODES = 200_000
MOST_WORDS = 300
"""Characters of an element's text that are kept."""
_ELEMENT, _TEXT = 1, 3
_UNREAD = frozenset({"SCRIPT", "STYLE", "NOSCRIPT", "TEMPLATE", "OPTION", "HEAD"})
_LEAST_OPACITY = 0.05

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Element:
    """One element of a page.

    Attributes:
        node: the browser's number for it (backendNodeId), good until the page is left.
        tag: in capitals.
        attributes: by name in small letters.
        box: x1, y1, x2, y2 in CSS pixels of the viewport; None when it has no place.
        visible: whether styles let it be seen and touched. It may still be covered: that is asked at its centre.
        pointer: whether the mouse becomes a hand over it.
        listens: whether the page listens for clicks on it.
        value: what stands in a field.
        checked: of a box that can be ticked.
        chosen: of an option.
        parent: index of the element around it, -1 for the outermost.
        document: address of the document it stands in.
        words: text in it, without scripts and fields.
    """

    node: int
    tag: str
    attributes: Mapping[str, str]
    box: Box | None
    visible: bool
    pointer: bool
    listens: bool
    value: str
    checked: bool
    chosen: bool
    parent: int
    document: str
    words: str = field(default="", compare=False)


def read_snapshot(answer: Mapping[str, Any]) -> list[Element]:
    """Every element of the page and of the frames in it, a parent before its children.

    Raises:
        ScreenError: the answer is not in the protocol's form.
    """
    try:
        return list(_Reader(answer).elements())
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        told = f"{type(error).__name__} {printable(error)}"
        raise ScreenError(f"the browser's snapshot cannot be read: {told}") from error


class _Reader:
    def __init__(self, answer: Mapping[str, Any]) -> None:
        self._strings: Sequence[str] = answer["strings"]
        if not all(isinstance(text, str) for text in self._strings):
            raise ScreenError("the browser's snapshot cannot be read: a text in it is none")
        self._documents: Sequence[Mapping[str, Any]] = answer["documents"]
        count = sum(len(document["nodes"]["nodeType"]) for document in self._documents)
        if count > MOST_NODES:
            raise ScreenError(f"a page with {count} nodes is not read; at most {MOST_NODES}")
        self._found: list[Element] = []
        self._words: list[list[str]] = []

    def elements(self) -> Iterator[Element]:
        if self._documents:
            # (document, x and y of its corner, index of the element that holds it)
            waiting = [(0, 0.0, 0.0, -1)]
            seen = {0}
            while waiting:
                number, x, y, holder = waiting.pop()
                for child in self._read(self._documents[number], x, y, holder):
                    if child[0] not in seen:
                        seen.add(child[0])
                        waiting.append(child)
        for element, words in zip(self._found, self._words, strict=True):
            text = " ".join(" ".join(words).split())[:MOST_WORDS]
            yield replace(element, words=text)

    def _text(self, index: int) -> str:
        return self._strings[index] if index >= 0 else ""

    def _read(
        self, document: Mapping[str, Any], x: float, y: float, holder: int
    ) -> Iterator[tuple[int, float, float, int]]:
        nodes, layout = document["nodes"], document["layout"]
        place = {node: row for row, node in enumerate(layout["nodeIndex"])}
        left, top = x - document.get("scrollOffsetX", 0.0), y - document.get("scrollOffsetY", 0.0)
        listens, checked, chosen = (
            _rows(nodes.get(name)) for name in ("isClickable", "inputChecked", "optionSelected")
        )
        values = _table(nodes.get("inputValue")) | _table(nodes.get("textValue"))
        frames = _table(nodes.get("contentDocumentIndex"))
        address = self._text(document["documentURL"])
        # Index among the found ones by node of this document, of the element itself or of the nearest one around it.
        at: dict[int, int] = {-1: holder}
        for node, kind in enumerate(nodes["nodeType"]):
            around = at.get(nodes["parentIndex"][node], holder)
            at[node] = around
            if kind == _TEXT:
                self._say(around, self._text(nodes["nodeValue"][node]), place.get(node) is not None)
            if kind != _ELEMENT:
                continue
            names = [self._text(index) for index in nodes["attributes"][node]]
            row = place.get(node)
            box, styles = None, ["", "hidden", "1", ""]
            if row is not None:
                box = _box(layout["bounds"][row], left, top)
                styles = [self._text(index) for index in layout["styles"][row]] or ["", "visible", "1", ""]
            parent = self._found[around] if around >= 0 else None
            cursor, visibility, opacity, events = [*styles, "", "visible", "1", ""][:4]
            visible = (
                visibility == "visible"
                and events != "none"
                and float(opacity or 1.0) > _LEAST_OPACITY
                and (parent is None or parent.box is None or parent.visible or parent.tag in ("HTML", "BODY"))
            )
            at[node] = len(self._found)
            self._words.append([])
            self._found.append(
                Element(
                    int(nodes["backendNodeId"][node]),
                    self._text(nodes["nodeName"][node]).upper(),
                    {name.lower(): value for name, value in zip(names[::2], names[1::2], strict=False)},
                    box,
                    visible,
                    cursor == "pointer",
                    node in listens,
                    self._text(values.get(node, -1)),
                    node in checked,
                    node in chosen,
                    around,
                    address,
                )
            )
            if node in frames and box is not None:
                yield frames[node], box[0], box[1], at[node]

    def _say(self, around: int, text: str, shown: bool) -> None:
        """Gives a text to every element that it stands in; an option's, which is never laid out, to the option."""
        if not text.strip():
            return
        if around >= 0 and self._found[around].tag == "OPTION":
            self._words[around].append(text)
        if not shown:
            return
        above = around
        while above >= 0:
            if self._found[above].tag in _UNREAD:
                return
            above = self._found[above].parent
        while around >= 0 and sum(map(len, self._words[around])) < MOST_WORDS:
            self._words[around].append(text)
            around = self._found[around].parent


def _box(bounds: Sequence[float], left: float, top: float) -> Box:
    """x, y, width, height in a document whose corner is at (left, top), as a box. ValueError: they are none."""
    x, y, width, height = (float(value) for value in bounds)
    box = (x + left, y + top, x + left + width, y + top + height)
    if not all(map(math.isfinite, box)) or width < 0.0 or height < 0.0:
        raise ValueError(f"an element has the place {list(bounds)}")
    return box


def _rows(rare: Mapping[str, Any] | None) -> frozenset[int]:
    """Nodes for which the protocol's rare boolean is set."""
    return frozenset(rare["index"]) if rare else frozenset()


def _table(rare: Mapping[str, Any] | None) -> dict[int, int]:
    """The protocol's rare values by node."""
    return dict(zip(rare["index"], rare["value"], strict=True)) if rare else {}
