"""Training losses: heat maps against Gaussian targets, action bins against soft neighbours and their expected value."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def heat_map_loss(logits: Tensor, marks: Tensor, target_marks: Tensor, sigma_cells: float) -> Tensor:
    """Cross entropy of heat maps (B, K, M, M) to a Gaussian around each true mark, plus L1 on the read-out marks.

    Marks are (B, K, 2) fractions of the image; those outside the image, or NaN, do not count.
    """
    size = logits.shape[-1]
    inside = ((target_marks >= 0) & (target_marks <= 1)).all(dim=-1)
    target_marks = target_marks.masked_fill(~inside[..., None], 0.5)
    centres = (torch.arange(size, device=logits.device, dtype=torch.float32) + 0.5) / size
    distance = (centres - target_marks[..., None]) * size
    # Gaussians are separable: (B, K, 2, M) in x and y, then their outer product over the grid.
    bell = torch.exp(-0.5 * (distance / sigma_cells) ** 2)
    target = bell[:, :, 1, :, None] * bell[:, :, 0, None, :]
    target = (target / target.sum(dim=(-2, -1), keepdim=True).clamp(min=1e-6)).flatten(2)
    cross_entropy = -(target * logits.flatten(2).log_softmax(dim=-1)).sum(dim=-1)
    offset = (marks - target_marks).abs().sum(dim=-1) * size
    total: Tensor = ((cross_entropy + 0.5 * offset.clamp(max=4.0)) * inside).sum() / inside.sum().clamp(min=1)
    return total


def action_loss(logits: Tensor, values: Tensor, centres: Tensor, sigma_bins: float, regression_weight: float) -> Tensor:
    """Soft-neighbour cross entropy plus regression of the expected bin.

    logits (B, 7, 256) by ascending action id; values (B, 7) normalised targets; centres (256,) the value of each id.
    """
    width = sigma_bins * 2.0 / (len(centres) - 1)
    target = torch.exp(-0.5 * ((centres - values[..., None].clamp(centres.min(), centres.max())) / width) ** 2)
    # Ids 0 and 1 decode to the same centre; only the second is ever taught, so that greedy decoding is not split.
    target[..., 0].zero_()
    target = target / target.sum(dim=-1, keepdim=True)
    cross_entropy = -(target * F.log_softmax(logits, dim=-1)).sum(dim=-1)
    expected = logits.softmax(dim=-1) @ centres
    regression = F.smooth_l1_loss(expected, values, beta=0.05, reduction="none")
    loss: Tensor = (cross_entropy + regression_weight * regression).mean()
    return loss


def action_cross_entropy(logits: Tensor, ids: Tensor) -> Tensor:
    """Cross entropy of action ids (B, 7), counted from the first one, under logits (B, 7, 256) by ascending id."""
    return F.cross_entropy(logits.flatten(0, 1), ids.flatten())
