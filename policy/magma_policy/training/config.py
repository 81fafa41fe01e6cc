"""What `magma-train` is told: one frozen dataclass, checked at construction."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from magma_policy.config import ConfigError


@dataclass(frozen=True)
class TextMixture:
    """How often a text sample is of which kind; the weights need not add up to one, and 0 leaves a kind out."""

    marks: float = 1.0
    """Set-of-Mark: where the numbered marks are."""
    traces: float = 1.0
    """Trace-of-Mark: where the marks that move will go."""
    questions: float = 1.0
    """Questions about the scene: which objects, where, what colour."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if not 0.0 <= getattr(self, item.name) < 1e6:
                raise ConfigError(f"text.{item.name} must be 0 or more, got {getattr(self, item.name)}")

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return self.marks + self.traces + self.questions


@dataclass(frozen=True)
class TrainConfig:
    """Train a small Magma on demonstration sets. The same command with the same output continues an interrupted run,
    and ends with the same weights, to the bit, as if it had not been interrupted.
    """

    demonstrations: tuple[Path, ...]
    """Demonstration sets (directories with card.json) of one or several robots; the first one's is the default robot of
    the checkpoint."""
    output: Path
    """Directory of the run; the policy checkpoint (moving average of the weights) is OUTPUT/checkpoint."""
    steps: int = 3000
    """Optimiser steps; the learning rate follows them."""
    seed: int = 0
    image_batch: int = 32
    """Samples with a picture per step and process."""
    state_batch: int = 768
    """Samples without a picture, which take the recorded marks instead; 0 = none. Only for models with state tokens."""
    decoder_batch: int = 96
    """How many of the state batch go through the decoder; the others teach the state encoder's early read-out."""
    text_batch: int = 8
    """How many of the image batch are also asked a question that is answered in text; 0 = none."""
    text: TextMixture = field(default_factory=TextMixture)
    accumulate: int = 1
    """Batches whose gradients are added up for one optimiser step."""
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup_fraction: float = 0.02
    marks_fraction: float = 0.12
    """Share of the steps in which image samples teach the marks only."""
    ema_decay: float = 0.998
    mark_noise_px: float = 0.8
    """Standard deviation of the noise on the recorded marks of state-only samples."""
    mark_outlier_fraction: float = 0.05
    mark_outlier_px: float = 3.0
    mark_sigma_cells: float = 0.9
    action_sigma_bins: float = 2.0
    mark_weight: float = 1.0
    text_weight: float = 0.2
    regression_weight: float = 5.0
    onset_weight: float = 3.0
    """Extra sampling weight of steps near a change of the gripper."""
    grounding: bool = True
    """Mark tokens that point into the picture, and state tokens that carry the marks; without: plain Magma but for
    proprioception."""
    geometry: Literal["table_plane", "none"] = "table_plane"
    """Whether marks are cast to the table by the camera's calibration."""
    plane_above_table_m: float = 0.02
    camera: str = "third_person"
    """Name of the camera, for the policy's action_spec."""
    validation_every: int = 20
    """One in so many episodes is held out."""
    validation_samples: int = 256
    validation_steps: int = 300
    """Optimiser steps from one validation to the next."""
    checkpoint_steps: int = 300
    """Optimiser steps from one checkpoint to the next."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Autocast type of the forward pass; bfloat16 pays on GPUs and on CPUs that have it in hardware."""
    device: str = "cpu"
    """cpu or cuda. Under torchrun every process takes the GPU of its local rank."""
    threads: int = 1

    def __post_init__(self) -> None:
        positive = (
            "steps", "image_batch", "decoder_batch", "accumulate", "learning_rate", "mark_sigma_cells",
            "action_sigma_bins", "validation_samples", "validation_steps", "checkpoint_steps", "threads",
        )  # fmt: skip
        for name in positive:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("state_batch", "text_batch", "mark_weight", "text_weight", "regression_weight", "onset_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.text_batch > self.image_batch:
            raise ConfigError(f"text_batch {self.text_batch} is part of image_batch {self.image_batch}, and larger")
        if self.validation_every < 2:
            raise ConfigError(f"validation_every must be at least 2, got {self.validation_every}")
        for name in ("marks_fraction", "warmup_fraction", "ema_decay", "mark_outlier_fraction"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not self.grounding and (self.geometry != "none" or self.marks_fraction > 0):
            raise ConfigError(
                "without grounding there are no marks to cast or to teach: geometry none, marks_fraction 0"
            )
        if not self.demonstrations:
            raise ConfigError("give at least one demonstration set")


CHANGEABLE = frozenset({"threads", "device", "checkpoint_steps"})
"""What may differ when a run is continued: how it uses the machine, not what it learns."""
