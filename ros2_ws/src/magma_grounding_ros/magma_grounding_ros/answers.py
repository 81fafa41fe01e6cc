"""What a model that points answered, as messages: for whoever asked, and for tools that show pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Point
from magma_interfaces.msg import NamedPlace as NamedPlaceMsg
from magma_interfaces.msg import PhraseBoxes, PictureBox
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import ImageMarker

from magma_common.conversions import ns_to_stamp
from magma_contracts.geometry.boxes import in_pixels
from magma_contracts.grounding import Entity, Grounding, NamedPlace
from magma_grounding_ros.frame_history import Frame

LINE_PX = 2.0
COLOURS = ((230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240), (240, 50, 230))
"""One for each phrase, of 255."""


@dataclass(frozen=True)
class Mark:
    """A place that is shown: the number of its phrase, from 0, the phrase, its box (4,) in pixels, its confidence."""

    group: int
    phrase: str
    box: np.ndarray
    confidence: float


def marks_of(found: Sequence[Grounding | Entity | NamedPlace], frame: Frame) -> list[Mark]:
    """All places of an answer, in its order."""
    height, width = frame.pixels.shape[:2]
    marks = []
    for group, one in enumerate(found):
        boxes = [one.box] if isinstance(one, NamedPlace) else one.boxes
        sure = [one.confidence] if isinstance(one, NamedPlace) else one.confidences
        for box, confidence in zip(in_pixels(np.reshape(boxes, (-1, 4)), width, height), sure, strict=True):
            marks.append(Mark(group, one.phrase, box, float(confidence)))
    return marks


def picture_box(box: np.ndarray) -> PictureBox:
    """A box (4,) of fractions."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return PictureBox(x1=x1, y1=y1, x2=x2, y2=y2)


def phrase_boxes(found: Grounding | Entity) -> PhraseBoxes:
    """A phrase and its places; presence is NaN where it was not asked."""
    return PhraseBoxes(
        phrase=found.phrase,
        boxes=[picture_box(box) for box in found.boxes],
        confidences=[float(value) for value in found.confidences],
        presence=float(found.presence) if isinstance(found, Grounding) else float("nan"),
    )


def named_place(named: NamedPlace) -> NamedPlaceMsg:
    """A place and its name."""
    return NamedPlaceMsg(
        phrase=named.phrase,
        box=picture_box(named.box),
        agreement=float(named.agreement),
        confidence=float(named.confidence),
        presence=float(named.presence),
    )


def header_of(frame: Frame) -> Header:
    """Stamp and camera of a frame."""
    return Header(stamp=ns_to_stamp(frame.stamp_ns), frame_id=frame.frame_id)


def detections(messages: Any, marks: Sequence[Mark], frame: Frame) -> Any:
    """vision_msgs/Detection2DArray in the frame's pixels; `id` is the mark's number, as it is drawn.

    Args:
        messages: the module vision_msgs.msg, which a ROS 2 may lack.
    """
    header = header_of(frame)
    array = messages.Detection2DArray(header=header)
    for number, mark in enumerate(marks):
        one = messages.Detection2D(header=header, id=str(number))
        x1, y1, x2, y2 = (float(value) for value in mark.box)
        one.bbox.center.position.x, one.bbox.center.position.y = (x1 + x2) / 2, (y1 + y2) / 2
        one.bbox.size_x, one.bbox.size_y = x2 - x1, y2 - y1
        result = messages.ObjectHypothesisWithPose()
        result.hypothesis.class_id, result.hypothesis.score = mark.phrase, mark.confidence
        one.results = [result]
        array.detections.append(one)
    return array


def image_marker(marks: Sequence[Mark], frame: Frame) -> ImageMarker:
    """visualization_msgs/ImageMarker: the boxes as lines over the frame, each phrase in a colour of its own."""
    marker = ImageMarker(header=header_of(frame), ns="grounding", type=ImageMarker.LINE_LIST, scale=LINE_PX)
    marker.action = ImageMarker.ADD if marks else ImageMarker.REMOVE
    for mark in marks:
        x1, y1, x2, y2 = (float(value) for value in mark.box)
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        red, green, blue = (value / 255.0 for value in COLOURS[mark.group % len(COLOURS)])
        for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
            marker.points += [Point(x=start[0], y=start[1]), Point(x=end[0], y=end[1])]
            marker.outline_colors += [ColorRGBA(r=red, g=green, b=blue, a=1.0)] * 2
    marker.outline_color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
    return marker
