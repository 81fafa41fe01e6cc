"""What a training run begins with: a new magma-tiny, or an existing checkpoint in either layout."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from magma_contracts.errors import ConfigError
from magma_policy.families import magma, registry
from magma_policy.families.magma import Magma, MagmaConfig, MagmaTokenizer, initialise_weights, magma_tiny_config
from magma_policy.files.weight_files import shards
from magma_policy.training import lora
from magma_policy.training.config import TrainConfig
from magma_policy.training.loop.memory import Memory
from magma_policy_client.checkpoint_paths import locate

MODULES = {"language": "language_model.", "projector": "multi_modal_projector.", "vision": "vision_tower."}
"""What the names of a part's parameters begin with."""


@dataclass(frozen=True)
class StartingPoint:
    """`directory` and `tokenizer` are None for a new model; `dtype` is the type that checkpoints are written in."""

    config: MagmaConfig
    directory: Path | None = None
    tokenizer: MagmaTokenizer | None = None
    dtype: torch.dtype = torch.float16

    @classmethod
    def of(cls, config: TrainConfig) -> StartingPoint:
        """Read what there is to know of it, but no weights.

        Raises CheckpointNotFoundError, HubError, CheckpointError or ConfigError.
        """
        if config.init is None:
            made = magma_tiny_config(config.geometry if config.geometry != "none" else None)
            return cls(made if config.grounding else dataclasses.replace(made, grounding=None))
        directory = registry.resolve_family(locate(config.init), "magma")
        found = magma.describe(directory)
        return cls(found.config, directory, found.tokenizer, found.dtype)

    def build(self, device: torch.device) -> Magma:
        """The model with its weights, in the type they are stored in; on the meta device without."""
        if device.type == "meta":
            with device:
                return Magma(self.config)
        if self.directory is None:
            model = Magma(self.config)
            initialise_weights(model)
            return model.to(device)
        return magma.load_model(self.directory, self.config, device, None)

    def fingerprint(self) -> str:
        """Tells other weights apart: sizes, heads and tails of the weight files. "" for a new model."""
        if self.directory is None:
            return ""
        digest = hashlib.sha256()
        for shard in shards(self.directory):
            size = shard.stat().st_size
            digest.update(size.to_bytes(8, "little"))
            with shard.open("rb") as file:
                for start in (0, max(0, size - (1 << 20))):
                    file.seek(start)
                    digest.update(file.read(1 << 20))
        return digest.hexdigest()[:16]


def set_types(model: Magma, trained: torch.dtype, frozen: torch.dtype) -> None:
    """Give every parameter its type; trained ones get memory of their own, apart from a mapped checkpoint file."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(trained, copy=True)
        else:
            parameter.data = parameter.data.to(frozen)


def prepare_model(start: StartingPoint, config: TrainConfig, device: torch.device) -> tuple[Magma, Any]:
    """The model as it is trained: adapters in place, every parameter of its type, `requires_grad` on those that learn.

    On the meta device it takes no memory. Also returns peft's LoraConfig, None without adapters.
    """
    model = start.build(device)
    model.vision_tower.to(memory_format=torch.channels_last)
    adapters: Any = None
    if config.lora_rank:
        base = str(config.init)
        adapters = lora.inject(model, config.lora_rank, config.lora_alpha, config.lora_parts, base)
    else:
        still = tuple(MODULES[part] for part in config.frozen)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(still))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"nothing is left to train with frozen {config.frozen}")
    compute = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    set_types(model, torch.bfloat16 if config.weights == "bfloat16" else torch.float32, compute)
    model.checkpoint_gradients(config.gradient_checkpointing)
    return model, adapters


def memory(start: StartingPoint, config: TrainConfig) -> Memory:
    """What a run will take, computed on the meta device."""
    model, _ = prepare_model(start, config, torch.device("meta"))
    return Memory.of(model, config.ema_decay > 0, config.precision == "bfloat16")
