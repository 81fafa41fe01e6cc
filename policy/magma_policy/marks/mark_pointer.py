"""Set-of-Mark pointing: mark tokens read the instruction and point into a key map made from the vision levels.

Magma learns to ground by saying marks as text; read out through action-style bins that needs far more samples than a
CPU can show a small model. Here each mark token's final hidden state is a query against a feature pyramid of the vision
tower (after Lin et al., "Feature Pyramid Networks", arXiv 1612.03144), which reaches sub-cell accuracy in minutes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from magma_policy.marks.mark_pointer_config import MarkPointerConfig


class MarkPointer(nn.Module):
    """Mark tokens, key map and pointer."""

    def __init__(self, config: MarkPointerConfig, level_dims: tuple[int, ...], hidden_size: int) -> None:
        super().__init__()
        self.config = config
        self.mark_tokens = nn.Parameter(torch.randn(config.num_marks, hidden_size) * 0.02)
        self.levels = nn.ModuleList(nn.Conv2d(dim, config.key_dim, kernel_size=1) for dim in level_dims)
        self.mix_dw = nn.Conv2d(config.key_dim, config.key_dim, kernel_size=3, padding=1, groups=config.key_dim)
        self.mix_pw = nn.Conv2d(config.key_dim, config.key_dim, kernel_size=1)
        self.query = nn.Linear(hidden_size, config.key_dim)
        self.scale = nn.Parameter(torch.tensor(config.key_dim**-0.5))

    def key_map(self, levels: list[Tensor]) -> Tensor:
        """Vision levels to keys (B, key_dim, map_size, map_size)."""
        size = (self.config.map_size, self.config.map_size)
        # Coarse levels are summed first so that each is resized once.
        total: Tensor | None = None
        for project, level in zip(reversed(list(self.levels)), reversed(levels), strict=True):
            here = project(level)
            if total is not None:
                here = here + F.interpolate(total, size=here.shape[-2:], mode="bilinear", align_corners=False)
            total = here
        if total is None:
            raise ValueError("no vision levels given")
        if total.shape[-2:] != size:
            total = F.interpolate(total, size=size, mode="bilinear", align_corners=False)
        mixed: Tensor = total + self.mix_pw(F.gelu(self.mix_dw(total)))
        return mixed

    def forward(self, mark_hidden: Tensor, levels: list[Tensor]) -> Tensor:
        """Hidden states of the mark tokens (B, K, H) and vision levels to heat-map logits (B, K, M, M)."""
        keys = self.key_map(levels).flatten(2)
        queries = self.query(mark_hidden)
        logits = torch.bmm(queries, keys.to(queries.dtype)).float() * self.scale
        return logits.unflatten(-1, (self.config.map_size, self.config.map_size))


def local_soft_argmax(logits: Tensor, window: int) -> Tensor:
    """Expected cell position near the peak.

    logits (B, K, M, M) to (B, K, 2) as (x, y) in 0..1 of the image; only cells within `window` of the peak count, so
    that a second, far mode cannot pull the point into the void between both. Differentiable in the logits.
    """
    batch, marks, size, _ = logits.shape
    flat = logits.flatten(2)
    peak = flat.argmax(dim=-1, keepdim=True)
    cells = torch.arange(size * size, device=logits.device)
    x, y = cells % size, cells // size
    near = ((x - peak % size).abs() <= window) & ((y - peak // size).abs() <= window)
    weights = flat.masked_fill(~near, float("-inf")).softmax(dim=-1)
    centres = torch.stack([x + 0.5, y + 0.5], dim=-1).to(weights.dtype) / size
    return (weights @ centres).view(batch, marks, 2)
