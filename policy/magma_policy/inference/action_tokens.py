"""Action values as token ids: 256 bins over -1..1 on the last 256 ids of the base vocabulary.

Same arithmetic as OpenVLA's and Magma's action tokenizers (256 edges, 255 centres), with one difference: an id that is
no action id raises instead of being clipped to an extreme motion.
"""

from __future__ import annotations

import numpy as np

NUM_BINS = 256

EDGES = np.linspace(-1.0, 1.0, NUM_BINS)
CENTRES = (EDGES[:-1] + EDGES[1:]) / 2.0


class ActionTokenError(ValueError):
    """A token id is not an action id, or a value cannot be encoded."""


class ActionTokens:
    """Encode and decode normalised actions for a base vocabulary of `base_vocab_size` entries."""

    def __init__(self, base_vocab_size: int) -> None:
        self.base_vocab_size = base_vocab_size
        self.first_id = base_vocab_size - NUM_BINS
        self.last_id = base_vocab_size - 1

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Normalised values, clipped to [-1, 1], to int64 ids of the same shape (-1 is the last id, +1 the first).

        Raises ActionTokenError for values that are not finite.
        """
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ActionTokenError(f"cannot encode non-finite action values {values.tolist()}")
        bins = np.digitize(np.clip(values, -1.0, 1.0), EDGES)
        return np.asarray(self.base_vocab_size - bins, dtype=np.int64)

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """Action ids to float64 bin centres of the same shape; the two lowest ids share the top centre.

        Raises ActionTokenError naming the offending ids when any id lies outside the 256 action ids.
        """
        ids = np.asarray(ids)
        if not np.issubdtype(ids.dtype, np.integer):
            raise ActionTokenError(f"action ids must be integers, got dtype {ids.dtype}")
        bad = ids[(ids < self.first_id) | (ids > self.last_id)]
        if bad.size:
            raise ActionTokenError(f"ids {bad.tolist()} are not action ids ({self.first_id}..{self.last_id})")
        index = np.clip(self.base_vocab_size - ids - 1, 0, NUM_BINS - 2)
        return np.asarray(CENTRES[index])


def bin_centres_by_id() -> np.ndarray:
    """float64 (256,): the value each action id decodes to, ordered by ascending id."""
    return ActionTokens(NUM_BINS).decode(np.arange(NUM_BINS))
