"""Visual features to language-model tokens: two linear layers and a learned separator at the end of every row."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MultiModalProjector(nn.Module):
    """`mlp2x_gelu` projector; `row_seperator` keeps the published spelling because it is a checkpoint name."""

    def __init__(self, vision_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Linear(vision_dim, hidden_size), nn.GELU(), nn.Linear(hidden_size, hidden_size))
        self.row_seperator = nn.Parameter(torch.zeros(1, 1, hidden_size))

    def forward(self, features: Tensor, rows: int, cols: int) -> Tensor:
        """Stitch the tiles of one image each and lay them out row by row.

        features: (B * rows * cols, C, s, s), the tiles of B images of rows x cols tiles, row-major.
        Returns (B, rows*s * (cols*s + 1), hidden): every feature row is closed by one separator.
        """
        tiles, channels, s, _ = features.shape
        batch = tiles // (rows * cols)
        grid = features.reshape(batch, rows, cols, channels, s, s).permute(0, 1, 4, 2, 5, 3)
        projected: Tensor = self.proj(grid.reshape(batch, rows * s, cols * s, channels))
        ends = self.row_seperator.to(projected.dtype).expand(batch, rows * s, 1, -1)
        return torch.cat([projected, ends], dim=2).flatten(1, 2)


def visual_token_count(rows: int, cols: int, cells_per_tile: int) -> int:
    """Tokens of an image of rows x cols tiles: rows*s * (cols*s + 1)."""
    return rows * cells_per_tile * (cols * cells_per_tile + 1)
