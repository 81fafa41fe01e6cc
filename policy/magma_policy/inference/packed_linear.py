"""Linear layers whose weights are laid out once for the CPU at hand.

torch hands a float32 product to a library that sorts the weights anew at every call. With the weights packed beforehand
by oneDNN, reading a prompt takes about two thirds of the time on a CPU with AVX-512, seven ids at once little more than
one, and bfloat16 gains as much again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from magma_policy.inference.action_decoder import ActionDecoder

# A model below this size, such as magma-tiny, fits the caches and gains little.
PACK_FROM_PARAMETERS = 2**24
# Layers smaller than this cost nothing either way.
PACK_FROM_ELEMENTS = 2**13
# The rows that oneDNN is told to expect; one layout of the decoder's serves single ids and whole prompts about as well.
DECODER_ROWS = 7
VISION_ROWS = 1024


class PackedLinear(nn.Module):
    """A Linear layer's values in oneDNN's own layout; its weight cannot be read back or trained.

    `gelu` True applies the exact GELU to the result while it is still in the cache.
    """

    def __init__(self, linear: nn.Linear, rows: int, gelu: bool = False) -> None:
        super().__init__()
        self._finish = ("gelu", "none") if gelu else ("none", "")
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self.bias, self._finish[0], [], self._finish[1]
        )
        return out


def _comes_before_gelu(module: nn.Module, parent: nn.Module) -> bool:
    """Whether `module` is the first layer of a perceptron (`fc1`) whose `activation` is the exact GELU."""
    activation = getattr(parent, "activation", None)
    return (
        isinstance(activation, nn.GELU) and activation.approximate == "none" and module is getattr(parent, "fc1", None)
    )


def pack_linears(model: ActionDecoder) -> int:
    """Replace the Linear layers of a large `model`'s decoder layers and of what reads its images; returns how many.

    The LM head stays, since actions read a few of its rows only. Layers that oneDNN cannot pack here (float16 on most
    CPUs) stay too, as do quantised ones.
    """
    if not torch.backends.mkldnn.is_available() or sum(p.numel() for p in model.parameters()) < PACK_FROM_PARAMETERS:
        return 0
    count = 0
    parts = {name: VISION_ROWS for name in model.vision_modules} | {"language_model.model.layers": DECODER_ROWS}
    for part, rows in parts.items():
        root = model.get_submodule(part)
        for name, module in list(root.named_modules()):
            if type(module) is nn.Linear and module.weight.numel() >= PACK_FROM_ELEMENTS:
                parent = root.get_submodule(name.rpartition(".")[0])
                gelu = _comes_before_gelu(module, parent)
                try:
                    packed = PackedLinear(module, rows, gelu)
                except (RuntimeError, AttributeError):
                    return count
                setattr(parent, name.rpartition(".")[2], packed)
                if gelu:
                    parent.activation = nn.Identity()
                count += 1
    return count
