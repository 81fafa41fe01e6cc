"""Whether the model's numbers can be chosen from: judged on raw logits, before any mask, temperature or argmax."""

from __future__ import annotations

import math

from torch import Tensor

REFUSED_ID = -1
"""Stands where an id would, so that the verdict travels with the ids and no id of the vocabulary is mistaken for it."""


def can_choose(logits: Tensor) -> Tensor:
    """Raw logits (..., N) to bool (...): True where all are finite and not all are equal.

    Equal ones come from an overflow too: normalisation divides by it, which leaves zeros, and their argmax would be the
    first id always.
    """
    low, high = logits.aminmax(dim=-1)
    # NaN and infinity survive the difference, and every comparison with NaN is False.
    spread = high - low
    return (spread > 0) & (spread < math.inf)
