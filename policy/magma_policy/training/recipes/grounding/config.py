"""What `magma-train --recipe grounding` is told: one frozen dataclass, checked at construction."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from magma_contracts.errors import ConfigError
from magma_policy.checks import require_ranges
from magma_policy.training.loop.settings import LoopSettings


@dataclass(frozen=True)
class TextShares:
    """How often a text of a picture is of which kind; the weights need not add up to one, and 0 leaves a kind out."""

    locate: float = 3.0
    """where an expression is that picks one thing out"""
    locate_absent: float = 0.8
    """where something is that is not there: answered by no box"""
    locate_several: float = 0.4
    """where all things are that an ambiguous expression fits"""
    refer: float = 2.5
    """what stands at a box, or at a square round a click"""
    presence: float = 0.8
    """is there …? half of them for what is not there"""
    questions: float = 0.3
    """what colour, how many"""

    def __post_init__(self) -> None:
        for item in fields(self):
            if not 0.0 <= getattr(self, item.name) < 1e6:
                raise ConfigError(f"texts.{item.name} must be 0 or more, got {getattr(self, item.name)}")
        if not sum(vars(self).values()):
            raise ConfigError("texts: at least one kind must have a weight")


@dataclass(frozen=True)
class GroundingConfig(LoopSettings):
    """Train a small KOSMOS-2 on rendered scenes, from nothing or from one that there is. The same command with the same
    output continues an interrupted run, and ends with the same weights, to the bit, as if it had not been interrupted.
    """

    scenes: tuple[Path, ...]
    """Sets of scenes to learn from (folders of `magma-scenes --split train`)."""
    output: Path
    """Directory of the run; the checkpoint (moving average of the weights) is OUTPUT/checkpoint."""
    validation: tuple[Path, ...] = ()
    """Sets to measure on while the run goes on (`--split validation`); none: nothing is measured."""
    init: str | None = None
    """Checkpoint to go on from: a folder, or the name of a shipped one. Its tokens, sizes and weights are used, and its
    vision tower has its head start already (`dense_steps` do not count). Left out: a new model."""
    recipe: Literal["grounding"] = "grounding"
    steps: int = 3200
    """Optimiser steps; the learning rate follows them."""
    picture_side: int = 0
    """Side of the square pictures that the network sees, in pixels. 0: 128 for a new model, the checkpoint's own for
    one that is gone on from; another side keeps its weights and interpolates the places of its patches."""
    picture_batch: int = 8
    """Pictures per step."""
    texts_per_picture: int = 12
    texts: TextShares = field(default_factory=TextShares)
    caption_fraction: float = 0.1
    """Share of the steps that teach descriptions; these are long and go by themselves."""
    dense_steps: int = 400
    """First steps, which teach the vision tower alone what and where each patch belongs to; then the resampler is
    aligned with it."""
    dense_batch: int = 24
    """Pictures per step of these."""
    dense_weight: float = 0.5
    """Of that loss afterwards."""
    feature_weight: float = 0.5
    """Of the same question to the features that stand for a picture in the text, at both ends of the text model; 0 = it
    is not asked."""
    place_sigma_first: float = 1.5
    place_sigma_last: float = 0.55
    """Softness of the location labels, in cells, at the start and from `place_sigma_until` on."""
    place_sigma_until: float = 0.7
    """Share of the steps after which the labels are as sharp as they get."""
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    warmup_fraction: float = 0.02
    ema_decay: float = 0.998
    """Decay of the moving average of the trained weights; 0 = none is kept."""
    validation_scenes: int = 12
    """Of each validation set, at a measurement."""
    validation_steps: int = 600
    """Optimiser steps from one validation to the next."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(
            self,
            positive=(
                "steps", "picture_batch", "texts_per_picture", "dense_batch", "place_sigma_first", "place_sigma_last",
                "place_sigma_until", "learning_rate", "validation_scenes", "validation_steps",
            ),
            not_negative=("picture_side", "dense_steps", "dense_weight", "feature_weight", "weight_decay"),
            fractions=("caption_fraction", "warmup_fraction", "ema_decay"),
        )  # fmt: skip
        if self.head_start >= self.steps:
            raise ConfigError(f"dense_steps {self.dense_steps} leave none of {self.steps} steps for the texts")
        if not self.scenes:
            raise ConfigError("give at least one set of scenes")

    @property
    def head_start(self) -> int:
        """First steps in which the vision tower is taught alone."""
        return self.dense_steps if self.init is None else 0
