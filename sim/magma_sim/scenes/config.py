"""What `magma-scenes` makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from magma_contracts.scenes import Split

Simulator = Literal["tabletop", "simpler-bridge"]


@dataclass(frozen=True)
class ScenesConfig:
    """What `magma-scenes` makes."""

    out: Path
    """directory to write to, one per simulator and split; scenes that are already there are kept"""
    simulator: Simulator = "tabletop"
    split: Split = "train"
    """what the scenes are for; no scene is drawn for two of them"""
    scenes: int = 1000
    """how many, numbered from 0"""
    per_file: int = 100
    """scenes in a file"""

    def __post_init__(self) -> None:
        for name in ("scenes", "per_file"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.per_file > 10_000:
            raise ValueError(f"per_file must be at most 10,000, got {self.per_file}")
