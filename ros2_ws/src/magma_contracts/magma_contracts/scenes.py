"""The format of scene sets: pictures of simulated scenes and what stands where in them, for a model that points.

A set is a folder with a card and files of several scenes each (numpy arrays only, never pickle). `magma-scenes` writes
it, `magma-train --recipe grounding` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

FORMAT_VERSION = 1
CARD = "card.json"
SCENES = "scenes"

Split = Literal["train", "validation", "test"]
"""What a scene is for: to learn from, to choose a checkpoint by, to report on. No scene is drawn for two of them."""
SPLITS: tuple[Split, ...] = get_args(Split)

CLICKS = 12
"""Points that are kept of each thing."""

SHAPES: Mapping[str, tuple[str | int, ...]] = {
    "images": ("S", "H", "W", 3),
    "scene": ("M",),
    "kind": ("M",),
    "colour": ("M",),
    "box": ("M", 4),
    "clicks": ("M", CLICKS, 2),
}
"""The arrays of a file of S scenes with M things in all:

    images uint8         rgb, as a policy sees them
    scene int32          which of the S scenes a thing stands in
    kind, colour text    what a person calls it, such as "block" and "green"
    box float32          x1 y1 x2 y2 of its visible part, fractions of the picture; NaN where it is as good as hidden
    clicks float32       points x y of its visible part, chosen at random; NaN where it is hidden
"""
