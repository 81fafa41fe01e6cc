"""Batches of rows that are about as long, so that little is padded, in an order that only the seed decides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

POOL = 50
"""Batches that are sorted by length together: more pads less and mixes less."""


def batches(lengths: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """The rows of one pass, every row once, in batches of `size`; the last of a pool may be smaller."""
    if not lengths or size < 1:
        raise ValueError(f"{len(lengths)} rows in batches of {size}: at least one of each is needed")
    rng = np.random.default_rng(np.random.SeedSequence((seed, epoch)))
    order = rng.permutation(len(lengths))
    found: list[list[int]] = []
    for start in range(0, len(order), size * POOL):
        pool = order[start : start + size * POOL]
        pool = pool[np.argsort(np.asarray(lengths)[pool], kind="stable")]
        found += [pool[at : at + size].tolist() for at in range(0, len(pool), size)]
    return [found[place] for place in rng.permutation(len(found))]
