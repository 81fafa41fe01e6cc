"""What is known of a page of MiniWoB++ while it is played. Needs no browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from magma_policy.screens.candidates import Candidate
from magma_policy.screens.page_snapshot import Element

WIDTH, HEIGHT = 160, 210
"""Of every page in CSS pixels."""
SCALE = 2.0
SUCCESS_ABOVE = 0.5
"""Raw reward, 1 for what was asked and -1 for something else on most pages; some give a little for a part of it."""


@dataclass(frozen=True)
class PageSpec:
    """Fixed facts of a task; pictures in pixels."""

    task: str
    max_steps: int
    step_period_s: float = 1.0
    image_width: int = round(WIDTH * SCALE)
    image_height: int = round(HEIGHT * SCALE)


@dataclass(frozen=True)
class PageObservation:
    """A page as it is now.

    Attributes:
        image: uint8 (H, W, 3) rgb, without marks; None when nothing was rendered.
        candidates: what can be acted on, in pixels of the image; mark k is the k-th.
        step: actions since the reset.
        success: whether the page was ended with a raw reward above `SUCCESS_ABOVE`.
        ended: whether nothing can change any more.
        instruction: what to do.
        reward: raw, of the page.
        reason: what the page says of it.
        refusal: why the last action was not carried out, "" when it was.
        elements: everything on the page, which only scripts may look at; empty once it has ended.
    """

    image: NDArray[np.uint8] | None
    candidates: tuple[Candidate, ...]
    step: int
    success: bool
    ended: bool
    instruction: str
    reward: float = 0.0
    reason: str = ""
    refusal: str = ""
    elements: Sequence[Element] = field(default=(), repr=False)
