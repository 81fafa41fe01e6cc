"""What `magma-train --recipe screens` is told: one frozen dataclass, checked at construction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from magma_contracts.errors import ConfigError
from magma_policy.checks import require_ranges
from magma_policy.training.loop.settings import LoopSettings

NONE = tyro.conf.arg(help_behavior_hint="(default: none)")


@dataclass(frozen=True)
class ScreensConfig(LoopSettings):
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
    batch: int = 16
    """Pictures per step."""
    questions: int = 4
    """Rows at most that are asked about each of them."""
    mark_weight: float = 0.3
    """Weight of what a picture's places are taught beside the answers: number and place of every mark that rows or a
    set's marks.jsonl tell, in the latter words too, and looking where the answer is; 0 = nothing."""
    learning_rate: float = 1.0e-3
    weight_decay: float = 0.02
    warmup_fraction: float = 0.03
    ema_decay: float = 0.998
    """Decay of the moving average of the trained weights; 0 = none is kept."""
    validation_rows: int = 100
    """Of the validation sets, at a measurement."""
    validation_steps: int = 500
    """Optimiser steps from one validation to the next."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(
            self,
            positive=(
                "image_side", "steps", "batch", "questions", "learning_rate", "validation_rows", "validation_steps",
            ),
            not_negative=("weight_decay", "mark_weight"),
            fractions=("warmup_fraction", "ema_decay"),
        )  # fmt: skip
        if self.image_side % 32 or self.image_side > 2048:
            raise ConfigError(f"image_side must be a multiple of 32 up to 2048, got {self.image_side}")
        if not self.rows:
            raise ConfigError("give at least one set of rows")
