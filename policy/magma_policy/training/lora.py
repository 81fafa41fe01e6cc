"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) by the library peft, in its own file format.

A linear layer's weight W stays as it is; beside it x -> (alpha / rank) B A x is learned, with B zero in the beginning.
The layers are exchanged inside our own model (peft's functional interface), so its classes stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from magma_contracts.errors import ConfigError
from magma_contracts.imports import import_problem
from magma_policy.families.magma import Magma

ADAPTER = "default"
"""peft's name of the one adapter that a model has here."""
WEIGHTS = "adapter_model.safetensors"

LINEAR_LAYERS: Mapping[str, str] = {
    "language": r"language_model\.model\.layers\.\d+\.(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj",
    "projector": r"multi_modal_projector\.proj\.[02]",
    "vision": r"vision_tower\..*\.mlp\.fc[12]",
}
"""The linear layers of each part, by regular expression. Embeddings and LM head are left alone, as is usual."""


def inject(model: Magma, rank: int, alpha: int, parts: Sequence[str], base: str) -> Any:
    """Exchange the linear layers of `parts` for ones with adapters, freeze everything else, and return peft's
    LoraConfig, in which `base` names the checkpoint. Raises ConfigError when peft cannot be imported."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        said = import_problem(error, "pip install 'magma-policy[lora]'", "peft")
        raise ConfigError(f"lora_rank needs peft, and {said}") from error
    # A set in parentheses, because peft matches the whole name.
    pattern = "|".join(f"({LINEAR_LAYERS[part]})" for part in parts)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern, lora_dropout=0.0, bias="none")
    config.base_model_name_or_path = base
    # What is on the meta device has nothing to be initialised.
    empty = any(parameter.is_meta for parameter in model.parameters())
    inject_adapter_in_model(config, model, adapter_name=ADAPTER, low_cpu_mem_usage=empty)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_adapter(name))
    return config


def is_adapter(name: str) -> bool:
    """Whether a parameter of that name belongs to an adapter."""
    return ".lora_A." in name or ".lora_B." in name


def merged(model: Magma, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a model without adapters that computes the same, one by one on the CPU in `dtype`, named as in a
    checkpoint: W + (alpha / rank) B A."""
    layers = dict(model.named_modules())
    for name, tensor in model.state_dict().items():
        if is_adapter(name):
            continue
        owner = layers.get(name.removesuffix(".base_layer.weight"))
        if owner is not None and hasattr(owner, "lora_A"):
            down, up = owner.lora_A[ADAPTER].weight, owner.lora_B[ADAPTER].weight
            # In float32: the sum is rounded once.
            tensor = tensor.float() + owner.scaling[ADAPTER] * (up.float() @ down.float())
        yield name.replace(".base_layer.", "."), tensor.detach().to("cpu", dtype)


def save(directory: Path, model: Magma, config: Any) -> None:
    """Write the adapter as peft does: adapter_config.json and adapter_model.safetensors."""
    directory.mkdir(parents=True, exist_ok=True)
    config.inference_mode = True
    config.save_pretrained(str(directory))
    tensors = {
        "base_model.model." + name.replace(f".{ADAPTER}.", "."): parameter.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if is_adapter(name)
    }
    save_file(tensors, str(directory / WEIGHTS), {"format": "pt"})
    # The library creates its file for the owner alone.
    (directory / WEIGHTS).chmod(0o644)
