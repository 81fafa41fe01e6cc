"""Fills a model that was built without memory from the mapped tensors of its checkpoint, each looked at on its way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from magma_policy.errors import CheckpointError
from magma_policy.files.weight_check import WeightCheck
from magma_policy.inference.action_decoder import ActionDecoder
from magma_policy.inference.quantisation import quantise


def fill(
    model: ActionDecoder,
    tensors: Mapping[str, Tensor],
    directory: Path,
    device: torch.device,
    dtype: torch.dtype | None,
    quantization: str | None,
) -> None:
    """Give a model on the meta device its weights, on `device` in `dtype` (None keeps the stored type).

    Names and shapes were compared before. Raises CheckpointError, which names `directory`, for a value that is not
    finite, in the file or in the type asked for; ConfigError for a quantisation that cannot be had.
    """
    model.load_state_dict(tensors, strict=True, assign=True)
    model.requires_grad_(False)
    check = WeightCheck()
    if quantization is not None:
        quantise(model, quantization, device, dtype or torch.bfloat16, check)
    for path, module in model.named_modules():
        if not getattr(module, "quantised", False):
            for name, parameter in list(module.named_parameters(recurse=False)):
                # To the device first: the bytes that travel are those of the file, and rounding and looking are quicker
                # there.
                moved = parameter.detach().to(device)
                check.add(f"{path}.{name}", moved, dtype)
                moved = moved if dtype is None else moved.to(dtype)
                setattr(module, name, torch.nn.Parameter(moved, requires_grad=False))
    if (problem := check.problem()) is not None:
        raise CheckpointError(f"{directory}: {problem}")
    # The library keeps its rotary frequencies outside the state dict; on the meta device they have no values.
    llama = model.language_model.model
    llama.rotary_emb = LlamaRotaryEmbedding(model.language_model.config).to(device)
