"""Weights of the decoder layers in fewer bits.

Only the Linear layers inside `language_model.model.layers` are changed; they are nine tenths of Magma-8B's decoder.
The vision tower, the projector, the embeddings and the LM head, from which actions are read, stay as they are. `int8`
(LLM.int8, Dettmers et al., arXiv 2208.07339) and `int4` (NF4, arXiv 2305.14314) come from bitsandbytes; `fp8` (e4m3
weights and activations, one scale per row) is torch's own scaled matrix product. It is made for GPUs of compute
capability 8.9 or more; on a CPU it gives the same rounding, slowly, which is good for measuring its effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from magma_contracts.errors import ConfigError
from magma_contracts.imports import import_problem
from magma_policy.files.weight_check import WeightCheck

QUANTISATIONS = ("int8", "int4", "fp8")
FP8 = torch.float8_e4m3fn
FP8_MAX = torch.finfo(FP8).max


class Fp8Linear(nn.Module):
    """Linear layer with e4m3 weights; activations are scaled and rounded per row as they come."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        scale = weight.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / FP8_MAX
        # (in, out), column-major, as the matrix product wants its second factor.
        self.register_buffer("weight", (weight.float() / scale).to(FP8).t())
        self.register_buffer("scale", scale.t().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        scale = rows.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / FP8_MAX
        scaled = (rows.float() / scale).to(FP8)
        if x.device.type == "cpu":
            # Not every torch 2 has the product with a scale per row there; these are the same sums.
            out = (scaled.float() @ self.weight.float() * scale * self.scale).to(x.dtype)
        else:
            out = torch._scaled_mm(scaled, self.weight, scale_a=scale, scale_b=self.scale, out_dtype=x.dtype)
        return out.view(*x.shape[:-1], -1)


class HalfInput(nn.Module):
    """Gives `layer` float16 and converts its answer back; LLM.int8 rounds to that type anyway, and warns every time."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.half())
        return out.to(x.dtype)


def _maker(kind: str, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], nn.Module]:
    """What turns a weight (out, in) on any device into a layer on `device`. Raises ConfigError."""
    if kind not in QUANTISATIONS:
        raise ConfigError(f"quantization must be one of {QUANTISATIONS} or None, got {kind!r}")
    if kind == "fp8":
        if device.type == "mps" or (device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 9)):
            raise ConfigError("quantization 'fp8' needs a CUDA GPU of compute capability 8.9 or more, or a CPU")
        if dtype != torch.bfloat16:
            raise ConfigError(f"quantization 'fp8' computes in bfloat16; load with that dtype, not {dtype}")
        return lambda weight: Fp8Linear(weight.to(device))
    try:
        import bitsandbytes
    except ImportError as error:
        said = import_problem(error, "pip install 'magma-policy[quantization]'", "bitsandbytes")
        raise ConfigError(f"quantization {kind!r} needs bitsandbytes, and {said}") from error
    layers: Any = bitsandbytes.nn

    def eight(weight: Tensor) -> nn.Module:
        layer = layers.Linear8bitLt(weight.shape[1], weight.shape[0], bias=False, has_fp16_weights=False)
        # Copied: the library rounds in place, and the weight may be a view of the checkpoint file.
        layer.weight = layers.Int8Params(
            weight.to(torch.float16, copy=True), requires_grad=False, has_fp16_weights=False
        )
        return HalfInput(layer.to(device))

    def four(weight: Tensor) -> nn.Module:
        layer = layers.Linear4bit(weight.shape[1], weight.shape[0], bias=False, compute_dtype=dtype, quant_type="nf4")
        layer.weight = layers.Params4bit(weight.to(dtype, copy=True), requires_grad=False, quant_type="nf4")
        return layer.to(device)

    return eight if kind == "int8" else four


def quantise(
    model: nn.Module, kind: str, device: torch.device, dtype: torch.dtype, check: WeightCheck | None = None
) -> None:
    """Replace the decoder's Linear layers in `model`, one by one, and put them on `device`; `check` sees each before.

    Their present weights may be views of a file; at no time is more than one of them in memory as a whole. Raises
    ConfigError when the kind is unknown, its library cannot be imported, or the device cannot do it.
    """
    make = _maker(kind, device, dtype)
    layers = model.get_submodule("language_model.model.layers")
    for name, module in list(layers.named_modules()):
        if isinstance(module, nn.Linear):
            parent = layers.get_submodule(name.rpartition(".")[0])
            if check is not None:
                # int8 goes through float16; fp8 has a scale of its own for each row, so nothing overflows.
                reached = {"int8": torch.float16, "int4": dtype}.get(kind)
                check.add(f"language_model.model.layers.{name}.weight", module.weight, reached)
            layer = make(module.weight.detach()).requires_grad_(False)
            # Says that its tensors are final: neither their type nor their place may be changed any more.
            for part in layer.modules():
                part.quantised = True
            setattr(parent, name.rpartition(".")[2], layer)
