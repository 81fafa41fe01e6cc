"""What `magma-train --recipe screens` is told: one frozen dataclass, checked at construction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from magma_contracts.errors import ConfigError
from magma_policy.checks import require_ranges

NONE = tyro.conf.arg(help_behavior_hint="(default: none)")


@dataclass(frozen=True)
class ScreensConfig:
    """Train a small Magma on pictures of screens with numbered marks, or finetune one. The same command with the same
    output continues an interrupted run, and ends with the same weights, to the bit, as if it had not been interrupted.
    """

    rows: tuple[Path, ...]
    """Sets of rows to learn from (folders of `magma-screen-demos`, or with a rows.jsonl in the published form)."""
    output: Path
    """Directory of the run; the checkpoint (moving average of the weights) is OUTPUT/checkpoint."""
    validation: Annotated[tuple[Path, ...], NONE] = ()
    """Sets to measure on while the run goes on; none: nothing is measured."""
    init: str | None = None
    """Checkpoint to finetune: a folder, the name of a shipped one, or owner/name on the Hugging Face Hub. Left out: a
    new small Magma."""
    recipe: Literal["screens"] = "screens"
    form: Literal["click", "click_text", "web", "phone"] = "click"
    """In which form the rows ask, kept with the checkpoint so that it is asked likewise."""
    image_side: int = 320
    """Side of the picture in pixels that a new model looks at; a multiple of 32."""
    steps: int = 4000
    """Optimiser steps; the learning rate follows them."""
    stop_after: int = 0
    """End after this step, as an interruption would; the same command without it goes on. 0 = after the last."""
    seed: int = 0
    batch: int = 16
    """Pictures per step."""
    questions: int = 4
    """Rows at most that are asked about each of them."""
    mark_weight: float = 0.3
    """Weight of what a picture's places are taught beside the answers: number and place of every mark that rows or a
    set's marks.jsonl tell, in the latter words too, and looking where the answer is; 0 = nothing."""
    accumulate: int = 1
    """Batches whose gradients are added up for one optimiser step."""
    learning_rate: float = 1.0e-3
    weight_decay: float = 0.02
    warmup_fraction: float = 0.03
    ema_decay: float = 0.998
    """Decay of the moving average of the trained weights; 0 = none is kept."""
    skip_limit: int = 10
    """Steps in a row whose loss or gradient is not finite, at which the run ends with an error; each is left out."""
    validation_rows: int = 100
    """Of the validation sets, at a measurement."""
    validation_steps: int = 500
    """Optimiser steps from one validation to the next."""
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
            self,
            positive=(
                "image_side", "steps", "batch", "questions", "accumulate", "learning_rate", "skip_limit",
                "validation_rows", "validation_steps", "checkpoint_steps", "threads",
            ),
            not_negative=("stop_after", "weight_decay", "mark_weight"),
            fractions=("warmup_fraction", "ema_decay"),
        )  # fmt: skip
        if self.image_side % 32 or self.image_side > 2048:
            raise ConfigError(f"image_side must be a multiple of 32 up to 2048, got {self.image_side}")
        if not self.rows:
            raise ConfigError("give at least one set of rows")


CHANGEABLE = frozenset({"stop_after", "threads", "device", "checkpoint_steps", "dry_run", "skip_limit"})
"""What may differ when a run is continued: how it uses the machine, not what it learns."""
