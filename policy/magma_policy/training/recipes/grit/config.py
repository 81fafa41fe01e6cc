"""What `magma-train --recipe grit` is told: one frozen dataclass, checked at construction. The defaults are the paper's
recipe (table 7) but for the size of a step, which is one machine's."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from magma_contracts.errors import ConfigError
from magma_policy.checks import require_ranges
from magma_policy.training.loop import settings
from magma_policy.training.loop.settings import LoopSettings

NONE = tyro.conf.arg(help_behavior_hint="(default: none)")
SHORTEST = 16
"""Tokens that a sequence must have room for behind its picture."""


@dataclass(frozen=True)
class TokenShares:
    """Of the tokens of a step, pictures' places among them, how many are of which kind; the weights need not add up to
    one. A kind that is given no data is left out."""

    texts: float = 185.0
    """plain text (`texts`)"""
    pairs: float = 107.5
    """captions (`pairs`)"""
    records: float = 107.5
    """captions whose phrases have places (`records`)"""
    documents: float = 19.0
    """texts with pictures between (`documents`)"""
    instructions: float = 0.0
    """of `records`, too: expressions to be found, and places to be named, in the paper's templates (its table 9)"""

    def __post_init__(self) -> None:
        for item in fields(self):
            if not 0.0 <= getattr(self, item.name) < 1e6:
                raise ConfigError(f"shares.{item.name} must be 0 or more, got {getattr(self, item.name)}")


@dataclass(frozen=True)
class GritConfig(LoopSettings):
    """Train a KOSMOS-2 on GRIT: on what `magma-grit` made, or on the published records. The same command with the same
    output continues an interrupted run, and ends with the same weights, to the bit, as if it had not been interrupted.
    """

    records: tuple[Path, ...]
    """What to learn places from: outputs of `magma-grit --tars`, tar shards whose JSON holds records, or the published
    GRIT's Parquet files (then with `pictures`)."""
    output: Path
    """Directory of the run; the checkpoint (moving average of the weights, if there is one) is OUTPUT/checkpoint."""
    init: str | None = None
    """Checkpoint to begin with: a folder, the name of a shipped one, or one of the Hub's cache."""
    from_scratch: bool = False
    """Begin with a new small network instead; its words are those of the data."""
    new: Literal["locations", "text", "nothing"] = "locations"
    """What of `init` is thrown away: the embeddings of the location tokens, as in the paper, which begins with a model
    that knows no places; the whole text model, which leaves what sees; or nothing, to go on with one that points."""
    location_start: Literal["random", "grid"] = "random"
    """New location embeddings: random as in the paper, or sines and cosines of the places, in which neighbours are
    alike, so that a small model on few pictures need not find out where a cell lies."""
    scale: int = 1
    """Widths and heads of a new network, in multiples of kosmos-tiny's."""
    recipe: Literal["grit"] = "grit"
    texts: Annotated[tuple[Path, ...], NONE] = ()
    """Plain texts: .txt files, or .jsonl of {"text": …}."""
    pairs: Annotated[tuple[Path, ...], NONE] = ()
    """Pictures with captions, as `magma-grit` reads them."""
    documents: Annotated[tuple[Path, ...], NONE] = ()
    """Texts with pictures between, as MMC4 has them: .jsonl of {"text_list": [sentence, …], "image_info":
    [{"image_name": …, "matched_text_index": sentence before which it stands}, …]}."""
    pictures: Path | None = None
    """Folder of the pictures that Parquet records and documents only name."""
    validation: Annotated[tuple[Path, ...], NONE] = ()
    """Records to measure on while the run goes on; none: nothing is measured."""
    shares: TokenShares = field(default_factory=TokenShares)
    tokens: int = 4096
    """Of a step, per process and accumulated part; the paper's step has 419 000."""
    longest: int = 512
    """Tokens of a sequence; what a text has beyond is a sequence of its own, of a caption it is cut off."""
    boxes_fraction: float = 0.5
    """How often a caption of `records` is told with its places; else without."""
    place_sigma: float = 0.0
    """Softness of the location labels, in cells: 0 is the paper's plain cross entropy; a small model learns from far
    fewer boxes with 0.5."""
    dropout: float = 0.1
    """Of the text model and the resampler."""
    freeze_vision: bool = False
    """Leave the vision tower as it is; the paper trains all."""
    steps: int = 60_000
    """Optimiser steps; the learning rate falls with them to 0."""
    learning_rate: float = 2e-4
    warmup_steps: int = 375
    weight_decay: float = 0.01
    clip: float = 2.0
    """Longest gradient."""
    ema_decay: float = 0.0
    """Decay of the moving average of the trained weights; 0 = none is kept, as in the paper."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type that is computed in; weights are float32."""
    pictures_in_memory_gib: float = 4.0
    """Pictures beyond it go, all of them, to a file beside the run that vanishes with it."""
    validation_records: int = 200
    """Of the validation sets, at a measurement."""
    validation_steps: int = 2000
    """Optimiser steps from one validation to the next."""
    checkpoint_steps: int = field(default=500, kw_only=True)
    """Optimiser steps from one checkpoint to the next."""
    device: str = field(default="cpu", kw_only=True)
    """cpu or cuda. Under torchrun every process takes the GPU of its local rank."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(
            self,
            positive=(
                "tokens", "steps", "learning_rate", "clip", "scale", "pictures_in_memory_gib", "validation_records",
                "validation_steps",
            ),
            not_negative=("place_sigma", "warmup_steps", "weight_decay"),
            fractions=("dropout", "ema_decay"),
        )  # fmt: skip
        if not 0.0 <= self.boxes_fraction <= 1.0:
            raise ConfigError(f"boxes_fraction must lie in [0, 1], got {self.boxes_fraction}")
        if self.warmup_steps >= self.steps:
            raise ConfigError(f"warmup_steps {self.warmup_steps} leave none of {self.steps} steps; give fewer")
        if self.longest < SHORTEST:
            raise ConfigError(f"longest must be at least {SHORTEST} tokens, got {self.longest}")
        if self.scale > 16:
            raise ConfigError(f"scale must be at most 16, got {self.scale}")
        if self.from_scratch and self.freeze_vision:
            raise ConfigError("a new vision tower has nothing that freeze_vision could keep")
        if not self.records:
            raise ConfigError("give at least one set of records")
        if not self.shares.records + self.shares.instructions:
            raise ConfigError("shares.records or shares.instructions must have a weight: nothing else has places")

    @property
    def warmup_fraction(self) -> float:
        """Share of the steps in which the learning rate rises."""
        return self.warmup_steps / self.steps


CHANGEABLE = settings.CHANGEABLE | {"pictures_in_memory_gib"}
"""What may differ when a run is continued: how it uses the machine, not what it learns."""
