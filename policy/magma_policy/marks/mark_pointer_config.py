"""Sizes of the mark pointer."""

from __future__ import annotations

from dataclasses import dataclass

from magma_policy.checks import require, require_size


@dataclass(frozen=True)
class MarkPointerConfig:
    """Set-of-Mark pointing: `num_marks` query tokens point into a key map made from the vision levels.

    `map_size` is the side of the heat map in cells; `window` the radius in cells of the local soft-argmax.
    """

    num_marks: int = 4
    key_dim: int = 48
    map_size: int = 32
    window: int = 2

    def __post_init__(self) -> None:
        require_size(self.num_marks, 64, "grounding num_marks")
        require_size(self.key_dim, 2**12, "grounding key_dim")
        require_size(self.map_size, 512, "grounding map_size")
        require(self.window >= 1, f"grounding window must be at least 1, got {self.window}")
