"""Features of patches to the decoder's tokens."""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Module):
    """Three linear layers with the exact GELU between for fused towers, two for a single one."""

    def __init__(self, vision_width: int, hidden_size: int, fused: bool) -> None:
        super().__init__()
        inner = 4 * vision_width if fused else hidden_size
        self.fc1 = nn.Linear(vision_width, inner)
        self.fc2 = nn.Linear(inner, hidden_size)
        self.fc3 = nn.Linear(hidden_size, hidden_size) if fused else None

    def forward(self, features: Tensor) -> Tensor:
        """(B, patches, vision width) to (B, patches, H)."""
        out: Tensor = self.fc2(nn.functional.gelu(self.fc1(features)))
        if self.fc3 is not None:
            out = self.fc3(nn.functional.gelu(out))
        return out
