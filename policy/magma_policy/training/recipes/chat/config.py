"""What `magma-train --recipe chat` is told: one frozen dataclass, checked at construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from magma_contracts.errors import ConfigError
from magma_policy.checks import require_ranges
from magma_policy.training.config import TrainConfig
from magma_policy.training.loop.settings import LoopSettings

Part = Literal["language", "projector", "vision"]


@dataclass(frozen=True)
class ChatTrainConfig(LoopSettings):
    """Teach a Magma to answer questions about pictures, from conversations in the form of Magma-SFT-820K. The same
    command with the same output continues an interrupted run, and ends with the same weights, to the bit.
    """

    conversations: tuple[Path, ...]
    """Files of rows, {"id", "image", "conversations": [{"from": "human" | "gpt", "value"}]}: JSON lists or .jsonl."""
    output: Path
    """Directory of the run; the checkpoint (moving average of the weights) is OUTPUT/checkpoint."""
    init: str = "magma-tiny"
    """Checkpoint to go on from: a folder, the name of a shipped one, or owner/name on the Hugging Face Hub."""
    images: Path | None = None
    """Folder that the rows' pictures lie in; default: that of each file."""
    validation: tuple[Path, ...] = ()
    """Files of rows to measure on while the run goes on; none: nothing is measured."""
    recipe: Literal["chat"] = "chat"
    steps: int = 2000
    """Optimiser steps; the learning rate follows them."""
    batch: int = 32
    """Conversations per step, of about the same length."""
    max_tokens: int = 0
    """Longer conversations are left out; 0 = what the model reads."""
    max_num_crops: int = 0
    """Tiles per picture at most; 0 = the model's own limit."""
    frozen: tuple[Part, ...] = ("vision",)
    """Parts that do not learn."""
    hold: tuple[Path, ...] = ()
    """Sets of demonstrations with pictures, on which the robot's actions are kept as the checkpoint has them; none:
    they are left to themselves, and get worse."""
    hold_batch: int = 16
    """Steps of these per batch."""
    hold_weight: float = 1.0
    """Weight of their loss against that of the answers."""
    learning_rate: float = 1e-5
    """Its peak; the published finetuning's. A small model takes about 3e-4."""
    weight_decay: float = 0.0
    warmup_fraction: float = 0.03
    ema_decay: float = 0.0
    """Decay of the moving average of the trained weights; 0 = none is kept."""
    weights: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights that learn."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type that is computed in."""
    gradient_checkpointing: bool = False
    validation_rows: int = 200
    """Answers at a measurement."""
    validation_steps: int = 200
    """Optimiser steps from one validation to the next."""
    dry_run: bool = field(default=False, kw_only=True)
    """Print what would be trained and which rows are left out; then end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(
            self,
            positive=(
                "steps", "batch", "learning_rate", "validation_rows", "validation_steps", "hold_batch",
            ),
            not_negative=("max_tokens", "max_num_crops", "weight_decay", "hold_weight"),
            fractions=("warmup_fraction", "ema_decay"),
        )  # fmt: skip
        if not self.conversations:
            raise ConfigError("give at least one file of conversations")

    def model(self) -> TrainConfig:
        """How the model is built, in the terms of the recipe that builds all Magmas; it reads no demonstrations."""
        return TrainConfig(
            demonstrations=self.conversations,
            output=self.output,
            init=self.init,
            frozen=self.frozen,
            weights=self.weights,
            precision=self.precision,
            gradient_checkpointing=self.gradient_checkpointing,
            ema_decay=self.ema_decay,
        )
