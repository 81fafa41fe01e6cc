"""What the runs of every recipe are told that is not about what they learn."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from magma_policy.checks import require_ranges

CHANGEABLE = frozenset({"stop_after", "threads", "device", "checkpoint_steps", "dry_run", "skip_limit"})
"""What may differ when a run is continued: how it uses the machine, not what it learns."""


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Settings of the loop that mean the same in each recipe; one whose default differs names it again."""

    stop_after: int = 0
    """End after this step, as an interruption would; the same command without it goes on. 0 = after the last."""
    seed: int = 0
    accumulate: int = 1
    """Batches whose gradients are added up for one optimiser step."""
    skip_limit: int = 10
    """Steps in a row whose loss or gradient is not finite, at which the run ends with an error; each is left out."""
    checkpoint_steps: int = 200
    """Optimiser steps from one checkpoint to the next."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    dry_run: bool = False
    """Print what would be trained; then end."""

    success_suites: tyro.conf.Suppress[tuple[str, ...]] = ()
    success_episodes: tyro.conf.Suppress[int] = 1
    success_steps: tyro.conf.Suppress[int] = 1_000_000_000

    def __post_init__(self) -> None:
        require_ranges(
            self, positive=("accumulate", "skip_limit", "checkpoint_steps", "threads"), not_negative=("stop_after",)
        )
