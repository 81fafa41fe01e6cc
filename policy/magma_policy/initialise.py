"""`magma-init`: write a randomly initialised checkpoint, for trying the graph before any training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from magma_policy import checkpoint
from magma_policy.config import ActionSpec, magma_tiny_config
from magma_policy.model import Magma
from magma_policy.statistics import ActionStatistics
from magma_policy.tokenizer import build_small_tokenizer


@dataclass(frozen=True)
class InitialiseConfig:
    """Write a randomly initialised magma-tiny; its actions are meaningless but within the bounds."""

    output: Path
    """Directory to write."""
    seed: int = 0
    step_period_s: float = 0.2
    max_translation_m: float = 0.01
    """Bound of every translation component of its actions."""


def initialise_weights(model: Magma) -> None:
    """Small-model initialisation: layer scales at 0.1 let gradients flow from the start; the heads start near zero."""
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.1)


def main() -> None:
    config = tyro.cli(InitialiseConfig)
    torch.manual_seed(config.seed)
    model_config = magma_tiny_config()
    model = Magma(model_config)
    initialise_weights(model)
    bound = np.full(7, config.max_translation_m)
    statistics = ActionStatistics(tuple(map(float, -bound)), tuple(map(float, bound)), (True,) * 6 + (False,))
    spec = ActionSpec(
        policy=model_config.name,
        horizon=1,
        step_period_s=config.step_period_s,
        frame="base",
        rotation="axis_angle",
        gripper="absolute_open_1",
        statistics_key="random",
        camera="third_person",
        image_height=model_config.image.base_size,
        image_width=model_config.image.base_size,
        proprioception=model_config.proprioception,
    )
    tokenizer = build_small_tokenizer(model_config.tokens)
    checkpoint.save(config.output, model.state_dict(), model_config, tokenizer, {"random": statistics}, spec)
    count = sum(p.numel() for p in model.parameters())
    print(f"wrote {config.output}: {model_config.name}, {count / 1e6:.2f} M parameters, random")


if __name__ == "__main__":
    main()
