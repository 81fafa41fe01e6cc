"""A rendered scene with what stands where in it, whichever simulator it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_contracts.scenes import CLICKS, Split
from magma_sim.tasks.object_words import OBJECT_WORDS, ObjectWords

HARD_SHARE = 0.5
"""Share of scenes in which two things look alike, so that only words of place tell them apart."""
LEAST_VISIBLE = 0.0006
"""Share of the picture below which a thing counts as hidden: 40 pixels of 256 x 256."""
STREAMS: Mapping[Split, int] = {"train": 0x5CE_7EAC, "validation": 0x5CE_FA1D, "test": 0x5CE_7E57}
"""First words of the seeds, so that the splits have nothing in common whatever the numbers."""


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        words: what a person calls it.
        mask: (H, W) bool, its visible pixels.
    """

    words: ObjectWords
    mask: NDArray[np.bool_]

    @property
    def kind(self) -> str:
        """Its noun without its colour: "block" of the green block."""
        return self.words.noun.removeprefix(f"{self.words.colour} ")


@dataclass(frozen=True)
class PicturedScene:
    """A picture (H, W, 3) uint8 rgb, and the things in it; masks may be of another resolution."""

    image: NDArray[np.uint8]
    things: tuple[Thing, ...]


def words_of(name: str) -> ObjectWords:
    """What a person calls the object of this name."""
    return OBJECT_WORDS[name]


def scene_generator(split: Split, simulator: int, number: int) -> np.random.Generator:
    """The one source of chance of a scene."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([STREAMS[split], simulator, number])))


def visible_box(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """x1 y1 x2 y2 (4,) of a mask (H, W), outer edges of its pixels as fractions of the picture; NaN when hidden."""
    if mask.sum() < LEAST_VISIBLE * mask.size:
        return np.full(4, np.nan, dtype=np.float32)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    edges = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    return np.array(edges, dtype=np.float32)


def points_of(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """(CLICKS, 2) middles of random pixels of a mask, x and y as fractions of the picture; NaN for an empty one."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return np.full((CLICKS, 2), np.nan, dtype=np.float32)
    chosen = rng.integers(len(rows), size=CLICKS)
    middles = np.stack([(columns[chosen] + 0.5) / mask.shape[1], (rows[chosen] + 0.5) / mask.shape[0]], axis=1)
    return middles.astype(np.float32)
