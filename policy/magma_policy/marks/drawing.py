"""Marks, boxes and traces drawn on images: what Magma is shown, and what people are shown of its answers.

All functions take uint8 (H, W, 3) rgb, leave it alone, and return a new image of the same size. What lies outside the
image is simply not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from magma_policy.marks.set_of_mark import GRID

if TYPE_CHECKING:
    # Following marks needs OpenCV, drawing them does not.
    from magma_policy.marks.clip_marks import ClipMarks

RED = (255, 0, 0)
WHITE = (255, 255, 255)
BOX_LINE_WIDTH = 2
LABEL_HEIGHT = (20, 30)
"""Smallest and largest label of a box in pixels, but never more than `LABEL_SHARE` of the image's smaller side."""
LABEL_SHARE = 0.04
MARK_SHARE = 0.03
"""Height of a mark's digits as a share of the image's width."""
TRACE_COLOURS = (
    (230, 25, 75),
    (60, 180, 75),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
)


def draw_box_marks(image: np.ndarray, boxes: np.ndarray, first: int = 0) -> np.ndarray:
    """Boxes with their numbers, as Magma's user-interface agent shows a screenshot to the model.

    Red boxes, white numbers on red from `first` on, each at that one of eight places at the corners of its box where it
    covers the least of other boxes and labels.

    Args:
        image: the screenshot.
        boxes: (N, 4) x1, y1, x2, y2 in pixels.

    Raises:
        ValueError: the image or the boxes have another form, or a box is not finite.
    """
    picture = _drawable(image)
    boxes = _table(boxes, 4, "boxes")
    draw = ImageDraw.Draw(picture)
    share = max(6, int(LABEL_SHARE * min(picture.size)))
    font = ImageFont.load_default(size=min(max(LABEL_HEIGHT[0], share // 2), LABEL_HEIGHT[1], max(share, 8)))
    for x1, y1, x2, y2 in boxes:
        draw.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=RED, width=BOX_LINE_WIDTH)
    taken = [tuple(box) for box in boxes]
    for number, box in enumerate(boxes, start=first):
        left, top, right, bottom = draw.textbbox((0, 0), str(number), font=font)
        width, height = right - left + 4, bottom - top + 4
        own = taken.index(tuple(box))
        others = taken[:own] + taken[own + 1 :]
        place = min(_label_places(box, width, height), key=lambda label: _covered(label, others, picture.size))
        taken.append(place)
        draw.rectangle(place, fill=RED)
        draw.text((place[0] + 2 - left, place[1] + 2 - top), str(number), fill=WHITE, font=font)
    return np.asarray(picture)


def draw_named_boxes(image: np.ndarray, boxes: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Boxes in colours of their own, each with its name at the corner where it covers the least.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        names: N texts; what the font lacks is left out by it.
    """
    picture = _drawable(image)
    boxes = _table(boxes, 4, "boxes")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(10, round(MARK_SHARE * min(picture.size))))
    taken = [tuple(box) for box in boxes]
    for number, (box, name) in enumerate(zip(boxes, names, strict=True)):
        colour = TRACE_COLOURS[number % len(TRACE_COLOURS)]
        draw.rectangle(tuple(box), outline=colour, width=BOX_LINE_WIDTH)
        left, top, right, bottom = draw.textbbox((0, 0), name, font=font)
        others = taken[:number] + taken[number + 1 :]
        places = _label_places(box, right - left + 4, bottom - top + 4)
        place = min(places, key=lambda label: _covered(label, others, picture.size))
        taken.append(place)
        draw.rectangle(place, fill=colour)
        draw.text((place[0] + 2 - left, place[1] + 2 - top), name, fill=WHITE, font=font)
    return np.asarray(picture)


def draw_point_marks(image: np.ndarray, points: Mapping[int, Sequence[float]]) -> np.ndarray:
    """Numbered marks: red discs with white digits, as in Magma's video and robot data.

    Args:
        points: pixel (x, y) by number.
    """
    picture = _drawable(image)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(8, round(MARK_SHARE * picture.width)))
    for number, point in points.items():
        x, y = (float(value) for value in _table([point], 2, "points")[0])
        left, top, right, bottom = draw.textbbox((0, 0), str(number), font=font)
        radius = 0.5 * float(np.hypot(right - left, bottom - top)) + 1
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=RED)
        draw.text((x - (left + right) / 2, y - (top + bottom) / 2), str(number), fill=WHITE, font=font)
    return np.asarray(picture)


def draw_traces(image: np.ndarray, paths: Mapping[int, np.ndarray], numbers: bool = True) -> np.ndarray:
    """Paths of marks: a line per mark that brightens towards its end, an arrow head there, the number at the start.

    Args:
        paths: pixel paths (T, 2) by number.
        numbers: whether to write the numbers.
    """
    picture = _drawable(image)
    # Drawn at twice the size and scaled down: smooth lines also on the small images of a policy.
    large = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(large)
    width = max(3, round(0.012 * large.width))
    for order, (_, path) in enumerate(paths.items()):
        points = 2.0 * _table(path, 2, "paths")
        colour = np.array(TRACE_COLOURS[order % len(TRACE_COLOURS)], dtype=np.float64)
        for step in range(len(points) - 1):
            ripe = (step + 1) / (len(points) - 1)
            shade = tuple(int(value) for value in np.rint(colour * (0.45 + 0.55 * ripe)))
            draw.line([tuple(points[step]), tuple(points[step + 1])], fill=shade, width=width)
            x, y = points[step + 1]
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=shade)
        _arrow_head(draw, points, width, tuple(int(value) for value in colour))
    result = np.asarray(large.resize(picture.size, Image.Resampling.BOX))
    starts = {number: path[0] for number, path in paths.items() if len(path)}
    return draw_point_marks(result, starts) if numbers else result


def _arrow_head(draw: ImageDraw.ImageDraw, points: np.ndarray, width: int, colour: tuple[int, ...]) -> None:
    end = points[-1]
    behind = next((point for point in points[-2::-1] if np.hypot(*(end - point)) > 1e-3), None) if len(points) else None
    if behind is None:
        return
    along = (end - behind) / np.hypot(*(end - behind))
    across = np.array([-along[1], along[0]])
    size = 2.0 * width
    tip = end + size * along
    draw.polygon([tuple(tip), tuple(end + size * across * 0.8), tuple(end - size * across * 0.8)], fill=colour)


def _label_places(box: np.ndarray, width: float, height: float) -> list[tuple[float, float, float, float]]:
    x1, y1, x2, y2 = (float(value) for value in box)
    lefts_tops = [
        *((x1, y1 - height), (x1, y1), (x2 - width, y1 - height), (x2, y1)),
        *((x1 - width, y1), (x1, y2), (x2 - width, y2), (x2, y2 - height)),
    ]
    return [(left, top, left + width, top + height) for left, top in lefts_tops]


def _covered(label: tuple[float, ...], others: Sequence[tuple[float, ...]], size: tuple[int, int]) -> float:
    """Pixels of other things under a label; a place off the image counts as all covered."""
    x1, y1, x2, y2 = label
    inside = max(0.0, min(x2, size[0]) - max(x1, 0.0)) * max(0.0, min(y2, size[1]) - max(y1, 0.0))
    area = (x2 - x1) * (y2 - y1)
    overlap = sum(max(0.0, min(x2, b[2]) - max(x1, b[0])) * max(0.0, min(y2, b[3]) - max(y1, b[1])) for b in others)
    return overlap + 10.0 * (area - inside)


def _drawable(image: np.ndarray) -> Image.Image:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"a picture must be a uint8 array (H, W, 3), got {got}")
    return Image.fromarray(np.ascontiguousarray(image))


def _table(values: object, columns: int, name: str) -> np.ndarray:
    table = np.asarray(values, dtype=np.float64)
    if table.size == 0:
        return np.zeros((0, columns))
    if table.ndim != 2 or table.shape[1] != columns or not np.isfinite(table).all():
        raise ValueError(f"{name} must be finite numbers of shape (N, {columns}), got shape {table.shape}")
    # Far outside the image a line is not seen, and the drawing library counts in 32 bits.
    return np.clip(table, -1e6, 1e6)


def marked_image(frame: np.ndarray, clip: ClipMarks) -> np.ndarray:
    """A clip's first frame, uint8 (H, W, 3) rgb, with its marks drawn."""
    scale = np.array([frame.shape[1], frame.shape[0]]) / GRID
    return draw_point_marks(frame, {mark: (scale * point).tolist() for mark, point in clip.starts().items()})
