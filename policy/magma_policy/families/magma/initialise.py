"""New models with random weights: where training from nothing begins, and checkpoints for trying the graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from magma_policy.embodiments import robots
from magma_policy.families.magma import checkpoint, published_files
from magma_policy.families.magma.config import magma_small_config, magma_tiny_config
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.tokenizer import build_small_tokenizer
from magma_policy.families.trial_robot import trial_robot

# Side of the images that the random model in the published layout asks for; the published robots' frames are shrunk
# to it too.
PUBLISHED_IMAGE_SIDE = 256


@dataclass(frozen=True)
class RandomCheckpoint:
    """What `write_random` writes: `layout` "magma-tiny" is this project's small model and files, "published" a plain
    Magma of few parameters in the files, shards and tensor names of microsoft/Magma-8B. Its actions are meaningless but
    within `max_translation_m` (m; of rotations too, in rad), every `step_period_s`.
    """

    layout: Literal["magma-tiny", "published"]
    seed: int
    step_period_s: float
    max_translation_m: float
    shard_bytes: int


def initialise_weights(model: Magma) -> None:
    """Small-model initialisation: layer scales at 0.1 let gradients flow from the start; the heads start near zero."""
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.1)


def write_random(directory: Path, wanted: RandomCheckpoint) -> tuple[str, int]:
    """Write a checkpoint; the model's name and how many parameters it has."""
    torch.manual_seed(wanted.seed)
    tiny = wanted.layout == "magma-tiny"
    config = magma_tiny_config() if tiny else magma_small_config()
    model = Magma(config)
    initialise_weights(model)
    tokenizer = build_small_tokenizer(config.tokens)
    side = config.image.base_size if tiny else PUBLISHED_IMAGE_SIDE
    robot = trial_robot(config.name, side, wanted.step_period_s, wanted.max_translation_m, config.proprioception)
    if tiny:
        checkpoint.save(directory, model.state_dict(), config, tokenizer, {robots.DEFAULT: robot})
    else:
        published_files.write(directory, model.state_dict(), config, tokenizer, shard_bytes=wanted.shard_bytes)
        robots.write(robot, directory)
    return config.name, sum(p.numel() for p in model.parameters())
