"""Soft labels of places: a corner is known to less than a cell, and neighbouring cells are nearly right."""

from __future__ import annotations

import torch
from torch import Tensor

from magma_policy.families.kosmos2 import Vocabulary


def softened(places: Tensor, bins: int, sigma: float) -> Tensor:
    """Distributions (..., bins) over cells whose middles are near `places` (...), in cells."""
    middles = torch.arange(bins, device=places.device) + 0.5
    return (-((places[..., None] - middles) ** 2) / (2 * sigma**2)).softmax(dim=-1)


def place_loss(logits: Tensor, corners: Tensor, vocabulary: Vocabulary, sigma: float) -> Tensor:
    """Cross entropies (N,) of logits (N, vocabulary) against corners (N, 2), x y in cells, softened by `sigma`, too."""
    x, y = (softened(corners[:, axis], vocabulary.bins, sigma) for axis in (0, 1))
    wanted = (y[:, :, None] * x[:, None, :]).flatten(1)
    among = logits.log_softmax(dim=1)[:, vocabulary.first_place : vocabulary.size]
    return -(wanted * among).sum(dim=1)
