"""What `magma-train --recipe chat` is told: one frozen dataclass, checked at construction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from magma_contracts.errors import ConfigError
from magma_policy.checks import require_ranges
from magma_policy.training.config import TrainConfig

Part = Literal["language", "projector", "vision"]


@dataclass(frozen=True)
class ChatTrainConfig:
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
    stop_after: int = 0
    """End after this step, as an interruption would; the same command without it goes on. 0 = after the last."""
    seed: int = 0
    batch: int = 32
    """Conversations per step, of about the same length."""
    accumulate: int = 1
    """Batches whose gradients are added up for one optimiser step."""
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
    skip_limit: int = 10
    """Steps in a row whose loss or gradient is not finite, at which the run ends with an error; each is left out."""
    weights: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights that learn."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type that is computed in."""
    gradient_checkpointing: bool = False
    validation_rows: int = 200
    """Answers at a measurement."""
    validation_steps: int = 200
    """Optimiser steps from one validation to the next."""
    checkpoint_steps: int = 200
    """Optimiser steps from one checkpoint to the next."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    dry_run: bool = False
    """Print what would be trained and which rows are left out; then end."""

    success_suites: tyro.conf.Suppress[tuple[str, ...]] = ()
    success_episodes: tyro.conf.Suppress[int] = 1
    success_steps: tyro.conf.Suppress[int] = 1_000_000_000

    def __post_init__(self) -> None:
        require_ranges(
            self,
            positive=(
                "steps", "batch", "accumulate", "learning_rate", "skip_limit", "validation_rows", "validation_steps",
                "checkpoint_steps", "threads", "hold_batch",
            ),
            not_negative=("stop_after", "max_tokens", "max_num_crops", "weight_decay", "hold_weight"),
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


CHANGEABLE = frozenset({"stop_after", "threads", "device", "checkpoint_steps", "dry_run", "skip_limit"})
"""What may differ when a run is continued: how it uses the machine, not what it learns."""
