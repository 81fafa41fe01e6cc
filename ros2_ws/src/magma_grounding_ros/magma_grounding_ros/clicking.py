"""What a person types, and is shown, when places of a picture become an instruction. No I/O."""

from __future__ import annotations

import cv2
import numpy as np

from magma_contracts.geometry.boxes import in_fractions, in_pixels
from magma_grounding_ros.desk import RefusedError, checked_place

SHOWN_SIDE = 512
"""A picture that is shown is enlarged until its smaller side has so many pixels."""
COLOURS = ((230, 25, 75), (0, 130, 200))
"""Of what is taken, and of where it is put."""


def zoom_of(pixels: np.ndarray) -> int:
    """How many times a picture (H, W, 3) is enlarged to be shown."""
    return max(1, -(-SHOWN_SIDE // min(pixels.shape[:2])))


def read_place(text: str, width: int, height: int) -> np.ndarray:
    """A place (4,) of fractions from "x,y" or "x1,y1,x2,y2" in pixels of a picture. Raises RefusedError."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (2, 4):
        raise RefusedError(f"a place is x,y or x1,y1,x2,y2 in pixels of the picture, not {text[:60]!r}")
    return checked_place(*in_fractions(np.tile(values, 4 // len(values)), width, height))


def shown(pixels: np.ndarray, places: list[np.ndarray], names: list[str]) -> np.ndarray:
    """The picture (H, W, 3) rgb, enlarged, with places (4,) of fractions drawn: boxes with their names, or crosses
    where somebody clicked."""
    zoom = zoom_of(pixels)
    height, width = pixels.shape[0] * zoom, pixels.shape[1] * zoom
    picture = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST)
    for number, place in enumerate(places):
        x1, y1, x2, y2 = np.rint(in_pixels(place, width, height)).astype(int).tolist()
        colour = COLOURS[number % len(COLOURS)]
        if (x1, y1) == (x2, y2):
            cv2.drawMarker(picture, (x1, y1), colour, cv2.MARKER_CROSS, 24, 2)
            continue
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, 2)
        if number < len(names):
            below = (x1, y1 - 6 if y1 > 20 else y2 + 16)
            cv2.putText(picture, names[number], below, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
    return picture


def is_yes(text: str) -> bool:
    """Whether a person agreed, in so many letters: anything but a clear word is no."""
    return text.strip().lower() in ("y", "yes")
