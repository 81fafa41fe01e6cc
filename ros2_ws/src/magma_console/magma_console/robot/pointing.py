"""Pointing at things in the picture: what a page asks the model that points, and what it is told. No clock, no I/O.

A page says places as shares of the picture and names the frame that it showed by its stamp, to the nanosecond: as
digits in a text, since JSON's numbers in a browser end at 2^53.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from magma_interfaces.msg import PhraseBoxes, PictureBox
from magma_interfaces.srv import Confirm, Describe, Ground, Refer

from magma_common.conversions import ns_to_stamp, stamp_to_ns
from magma_contracts.text import one_line

LONGEST_TEXT = 200
MOST_PHRASES = 8
MOST_PLACES = 2
MOST_MARKS = 64
LAST_STAMP_NS = 1 << 62
"""What a time of a message can hold is a little more."""
REFER, GROUND, DESCRIBE, CONFIRM = "refer", "ground", "describe", "confirm"
KINDS = (REFER, GROUND, DESCRIBE, CONFIRM)
"""Of messages of a page; also the services, below magma/."""


class PointingError(ValueError):
    """A page's question that cannot be asked; the text says why."""


def request_of(message: Mapping[str, Any], asked_by: str) -> Any:
    """The request of the service that a page's message, of one of KINDS, asks for.

    Raises:
        PointingError: it asks for nothing that could be answered.
    """
    kind = message["type"]
    if kind == CONFIRM:
        number = message.get("proposal")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 1 << 63:
            raise PointingError("proposal is the number that was told with the instruction")
        return Confirm.Request(proposal=number, asked_by=asked_by)
    stamp = ns_to_stamp(_stamp_ns(message.get("stamp")))
    if kind == REFER:
        return Refer.Request(stamp=stamp, places=_places(message.get("places")))
    if kind == GROUND:
        phrases = [part for part in (one.strip() for one in _text(message, "phrases").split(",")) if part]
        if not 1 <= len(phrases) <= MOST_PHRASES:
            raise PointingError(f"say what to look for: 1 to {MOST_PHRASES} things, with commas between them")
        return Ground.Request(stamp=stamp, phrases=phrases, which="all" if message.get("all") is True else "one")
    return Describe.Request(stamp=stamp, question=_text(message, "question"))


def answer_of(response: Any) -> dict[str, Any]:
    """What a page is told: `ok`, `text`, `marks` with their boxes as shares, and a proposal where there is one."""
    if isinstance(response, Confirm.Response):
        return {"ok": bool(response.accepted), "text": response.message[:LONGEST_TEXT]}
    told: dict[str, Any] = {"ok": bool(response.success), "text": response.message[:500]}
    if not response.success:
        return told
    told["stamp"] = str(stamp_to_ns(response.stamp))
    if isinstance(response, Refer.Response):
        told["marks"] = [_mark(one.phrase, one.box, one.confidence) for one in response.named]
        told["instruction"], told["proposal"] = response.instruction[:500], int(response.proposal)
    elif isinstance(response, Ground.Response):
        told["marks"] = _marks(response.found)
        told["nowhere"] = [one.phrase[:LONGEST_TEXT] for one in response.found if not one.boxes]
    else:
        told["text"] = response.text[:2000]
        told["marks"] = _marks(response.entities)
    return told


def shares_of(detections: Sequence[Any], width: int, height: int) -> list[dict[str, Any]]:
    """Marks of what magma/detections carries, in pixels of a frame of this size; none of an unknown size."""
    if width < 1 or height < 1:
        return []
    marks = []
    for one in detections[:MOST_MARKS]:
        x, y = one.bbox.center.position.x, one.bbox.center.position.y
        half_x, half_y = one.bbox.size_x / 2, one.bbox.size_y / 2
        box = PictureBox(
            x1=(x - half_x) / width, y1=(y - half_y) / height, x2=(x + half_x) / width, y2=(y + half_y) / height
        )
        best = one.results[0].hypothesis if one.results else None
        marks.append(_mark(best.class_id, box, best.score) if best is not None else _mark(one.id, box, 0.0))
    return marks


def _marks(found: Sequence[PhraseBoxes]) -> list[dict[str, Any]]:
    return [
        _mark(one.phrase, box, sure) for one in found for box, sure in zip(one.boxes, one.confidences, strict=False)
    ]


def _mark(phrase: str, box: PictureBox, sure: float) -> dict[str, Any]:
    values = [float(value) if math.isfinite(value) else 0.0 for value in (box.x1, box.y1, box.x2, box.y2, sure)]
    return {"phrase": phrase[:LONGEST_TEXT], "box": [round(v, 4) for v in values[:4]], "sure": round(values[4], 3)}


def _stamp_ns(value: Any) -> int:
    """Of the frame that was shown; none = the newest."""
    if value is None:
        return 0
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 19:
        raise PointingError("stamp is the frame's time in nanoseconds, as digits")
    stamp_ns = int(value)
    if stamp_ns >= LAST_STAMP_NS:
        raise PointingError("stamp is no time")
    return stamp_ns


def _places(value: Any) -> list[PictureBox]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_PLACES:
        raise PointingError("places are one place, or what to take and where to put it")
    places = []
    for box in value:
        numbers = box if isinstance(box, list) and len(box) == 4 else [None]
        if not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in numbers):
            raise PointingError("a place is four numbers: x1, y1, x2, y2")
        x1, y1, x2, y2 = numbers
        # Not finite is not in order either; a whole number may be too large to be turned into a float before.
        if not (0.0 <= x1 <= x2 <= 1.0 and 0.0 <= y1 <= y2 <= 1.0):
            raise PointingError("a place lies in the picture: 0 ... 1, x1 <= x2, y1 <= y2")
        places.append(PictureBox(x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2)))
    return places


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name, "")
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise PointingError(f"{name} is a text of at most {LONGEST_TEXT} characters")
    return one_line(value)
