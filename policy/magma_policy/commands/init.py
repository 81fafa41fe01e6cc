"""`magma-init`: write a randomly initialised checkpoint, for trying the graph before any training."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

from magma_policy.commands.options import run_command
from magma_policy.embodiments import robots
from magma_policy.embodiments.action_normalization import ActionStatistics
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.robots import Robot
from magma_policy.errors import CommandError
from magma_policy.families.magma import checkpoint, published_files
from magma_policy.families.magma.config import MagmaConfig, magma_small_config, magma_tiny_config
from magma_policy.families.magma.initialise import initialise_weights
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.tokenizer import build_small_tokenizer

# Side of the pictures that the random model in the published layout asks for; the published robots' frames are shrunk
# to it too.
PUBLISHED_PICTURE_SIDE = 256


@dataclass(frozen=True)
class InitialiseConfig:
    """Write a randomly initialised checkpoint; its actions are meaningless but within the bounds."""

    output: Path
    """Directory to write."""
    layout: Literal["magma-tiny", "published"] = "magma-tiny"
    """magma-tiny: this project's small model and files. published: a plain Magma of few parameters in the files, shards
    and tensor names of microsoft/Magma-8B, with an action spec and statistics beside them."""
    seed: int = 0
    step_period_s: float = 0.2
    max_translation_m: float = 0.01
    """Bound of every translation component of its actions; of rotations too, in rad."""
    shard_megabytes: float = 2.0
    """Largest shard of the published layout."""


def main() -> None:
    """Entry point of `magma-init`."""
    sys.exit(run_command("magma-init", lambda: write(tyro.cli(InitialiseConfig, prog="magma-init"))))


def write(config: InitialiseConfig) -> int:
    """Writes the checkpoint. Raises CommandError when that would overwrite something."""
    if config.output.is_dir() and any(config.output.iterdir()):
        raise CommandError(f"--output {config.output} is not empty; give a new folder, nothing is overwritten")
    if config.output.exists() and not config.output.is_dir():
        raise CommandError(f"--output {config.output} is a file; give a folder")
    torch.manual_seed(config.seed)
    model_config = magma_tiny_config() if config.layout == "magma-tiny" else magma_small_config()
    model = Magma(model_config)
    initialise_weights(model)
    bound = np.full(7, config.max_translation_m)
    bounds = ActionStatistics(tuple(map(float, -bound)), tuple(map(float, bound)), (True,) * 6 + (False,))
    tokenizer = build_small_tokenizer(model_config.tokens)
    robot = Robot(_spec(model_config, config), bounds)
    if config.layout == "magma-tiny":
        checkpoint.save(config.output, model.state_dict(), model_config, tokenizer, {robots.DEFAULT: robot})
    else:
        size = int(config.shard_megabytes * 1e6)
        published_files.write(config.output, model.state_dict(), model_config, tokenizer, shard_bytes=size)
        robots.write(robot, config.output)
    count = sum(p.numel() for p in model.parameters())
    print(f"wrote {config.output}: {model_config.name}, {count / 1e6:.2f} M parameters, random")
    return 0


def _spec(model_config: MagmaConfig, config: InitialiseConfig) -> ActionSpec:
    side = model_config.image.base_size if config.layout == "magma-tiny" else PUBLISHED_PICTURE_SIDE
    return ActionSpec(
        policy=model_config.name,
        horizon=1,
        step_period_s=config.step_period_s,
        frame="base",
        rotation="axis_angle",
        gripper="absolute_open_1",
        statistics_key="random",
        camera="third_person",
        image_height=side,
        image_width=side,
        proprioception=model_config.proprioception,
    )


if __name__ == "__main__":
    main()
