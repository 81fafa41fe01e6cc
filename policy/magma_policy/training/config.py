"""What `magma-train` is told: one frozen dataclass, checked at construction."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from magma_contracts.errors import ConfigError
from magma_policy.checks import require_ranges
from magma_policy.training.loop import settings
from magma_policy.training.loop.settings import LoopSettings


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


Part = Literal["language", "projector", "vision"]
"""Parts of a Magma: language model, multi-modal projector, vision tower."""
NONE = tyro.conf.arg(help_behavior_hint="(default: none)")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LoopSettings):
    """Train a small Magma on demonstration sets, or finetune an existing one. The same command with the same output
    continues an interrupted run, and ends with the same weights, to the bit, as if it had not been interrupted.
    """

    demonstrations: tuple[Path, ...]
    """Demonstration sets of one or several robots, mixed as you like: folders of magma-demos and magma-export, LeRobot
    datasets (v3.0, v2.1), folders of the Hub's cache, or owner/name of what is in there. The first one's robot is the
    default robot of the checkpoint."""
    output: Path
    """Directory of the run; the policy checkpoint (moving average of the weights) is OUTPUT/checkpoint."""
    mappings: Annotated[tuple[Path, ...], NONE] = ()
    """Mapping files of the robots of other people's datasets: which column is what, and in which convention;
    `magma-data mapping SET` prints one to fill in."""
    frames_in_memory_gib: float = 4.0
    """Pictures beyond it go, all of them, to a file beside the run that vanishes with it: a set may be larger than
    memory."""
    recipe: Literal["robot_actions"] = "robot_actions"
    """What is learned: robot_actions, from demonstrations; chat, from conversations (`magma-train --recipe chat
    --help`); grounding, from scenes (`magma-train --recipe grounding --help`); grit, from captions whose phrases have
    boxes (`magma-train --recipe grit --help`)."""
    init: str | None = None
    """Checkpoint to finetune: a folder, the name of a shipped one, or owner/name on the Hugging Face Hub, in this
    project's layout or Magma-8B's. Its config, tokenizer and weights are used. Left out: a new magma-tiny."""
    statistics: str = "demonstrations"
    """Whose q01/q99 bounds give the bins their meaning: demonstrations (measured on the training steps), init (the
    robot of that name in the checkpoint that is finetuned, else its default robot), or a robot as for
    magma_policy.load (widowx, google_robot, a folder). A robot brings its coding of actions and its image size
    along."""
    lora_rank: int = 0
    """Rank of low-rank adapters (LoRA); only these are trained. 0 = all weights are trained (full finetuning)."""
    lora_alpha: int = 32
    """Adapters count alpha / rank times."""
    lora_parts: tuple[Part, ...] = ("language",)
    """Whose linear layers get adapters."""
    frozen: Annotated[tuple[Part, ...], NONE] = ()
    """Parts whose weights are not trained, in full finetuning."""
    steps: int = 3000
    """Optimiser steps; the learning rate follows them."""
    image_batch: int = 32
    """Samples with an image per step and process."""
    state_batch: int = 768
    """Samples without an image, which take the recorded marks instead; 0 = none. Only for models with state tokens."""
    decoder_batch: int = 96
    """How many of the state batch go through the decoder; the others teach the state encoder's early read-out."""
    text_batch: int = 8
    """How many of the image batch are also asked a question that is answered in text; 0 = none."""
    text: TextMixture = field(default_factory=TextMixture)
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup_fraction: float = 0.02
    marks_fraction: float = 0.12
    """Share of the steps in which image samples teach the marks only."""
    ema_decay: float = 0.998
    """Decay of the moving average of the trained weights; 0 = none is kept, which saves its memory."""
    mark_noise_px: float = 0.8
    """Standard deviation of the noise on the recorded marks of state-only samples."""
    mark_outlier_fraction: float = 0.05
    mark_outlier_px: float = 3.0
    mark_sigma_cells: float = 0.9
    action_loss: Literal["soft_bins", "cross_entropy"] = "soft_bins"
    """soft_bins: cross entropy to neighbouring bins and a regression of the expected one; cross_entropy: of the true
    bin's id among the action ids."""
    action_sigma_bins: float = 2.0
    mark_weight: float = 1.0
    text_weight: float = 0.2
    regression_weight: float = 5.0
    onset_weight: float = 3.0
    """Extra sampling weight of steps near a change of the gripper."""
    grounding: bool = True
    """Mark tokens that point into the image, and state tokens that carry the marks; without: plain Magma but for
    proprioception. This and geometry shape a new model; with --init the checkpoint's own config does."""
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
    success_suites: Annotated[tuple[str, ...], NONE] = ()
    """Suites of magma-eval to play with the checkpoint while the run goes on, such as tabletop-validation; successes
    are printed, kept and drawn. Never suites that results are reported on: they would choose the checkpoint."""
    success_episodes: int = 6
    """Episodes per task of these suites."""
    success_steps: int = 1000
    """Optimiser steps from one such test to the next; there is one at the end, too."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Autocast type of the forward pass; bfloat16 pays on GPUs and on CPUs that have it in hardware. Weights that are
    not trained are held in it."""
    weights: Literal["float32", "bfloat16"] = "float32"
    """Type in which trained weights and their gradients are held. bfloat16 (rounded stochastically; moments and moving
    average stay in float32) halves both."""
    gradient_checkpointing: bool = False
    """Keep only the input of every block of language model and vision tower, and compute its inside again for the
    gradients: about a third more time for a fraction of the activations' memory."""
    device: str = "cpu"
    """cpu or cuda. Under torchrun every process takes the GPU of its local rank."""
    graphs: bool = True
    """Record the work of a step once and repeat it (CUDA graphs); on a GPU only. A small model's step takes a fraction
    of the time."""
    dry_run: bool = False
    """Print what would be trained and the memory of weights, gradients and optimiser, computed without allocating them;
    then end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(
            self,
            positive=(
                "steps", "image_batch", "decoder_batch", "learning_rate", "mark_sigma_cells", "action_sigma_bins",
                "validation_samples", "validation_steps", "success_episodes", "success_steps", "frames_in_memory_gib",
            ),
            not_negative=(
                "state_batch", "text_batch", "mark_weight", "text_weight", "regression_weight", "onset_weight",
            ),
            fractions=("marks_fraction", "warmup_fraction", "ema_decay", "mark_outlier_fraction"),
        )  # fmt: skip
        if self.text_batch > self.image_batch:
            raise ConfigError(f"text_batch {self.text_batch} is part of image_batch {self.image_batch}, and larger")
        if self.validation_every < 2:
            raise ConfigError(f"validation_every must be at least 2, got {self.validation_every}")
        if self.lora_rank < 0 or self.lora_alpha <= 0:
            raise ConfigError(f"lora_rank {self.lora_rank} must be 0 or more, lora_alpha {self.lora_alpha} positive")
        if self.lora_rank and (self.frozen or not self.lora_parts):
            raise ConfigError("with lora_rank only adapters are trained: give their lora_parts, and no frozen parts")
        if self.init is None and (self.lora_rank or self.frozen or self.statistics == "init"):
            raise ConfigError("lora_rank, frozen and statistics init go with an init checkpoint")
        if self.weights == "bfloat16" and self.precision != "bfloat16":
            raise ConfigError("weights bfloat16 need precision bfloat16")
        if self.init is None and not self.grounding and (self.geometry != "none" or self.marks_fraction > 0):
            raise ConfigError(
                "without grounding there are no marks to cast or to teach: geometry none, marks_fraction 0"
            )
        if not self.demonstrations:
            raise ConfigError("give at least one demonstration set")


CHANGEABLE = settings.CHANGEABLE | {
    "graphs", "gradient_checkpointing", "success_suites", "success_episodes", "success_steps", "frames_in_memory_gib",
}  # fmt: skip
"""What may differ when a run is continued: how it uses the machine, not what it learns."""
