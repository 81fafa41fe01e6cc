"""AdamW for every type of weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BETAS = (0.9, 0.98)
EPS = 1e-8
CHUNK = 1 << 26
"""Elements that are worked on at once: the embedding table of an 8 B model in float32 would take gigabytes."""


def make_optimizer(
    model: nn.Module, learning_rate: float, weight_decay: float, seed: int, eps: float = EPS
) -> torch.optim.Optimizer:
    """AdamW over what is trained, with weight decay on matrices and kernels only: torch's for float32 weights,
    `RoundingAdamW` as soon as there are others."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if all(p.dtype == torch.float32 for p in trained):
        return torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, eps=eps, fused=True)
    return RoundingAdamW(groups, learning_rate, BETAS, seed, eps)


class RoundingAdamW(torch.optim.Optimizer):
    """AdamW whose weights may be bfloat16: moments are float32, the new weight is computed in float32 and rounded up or
    down by chance, so that on average it is exact.

    To the nearest, a change of less than 1/512 of a weight would be lost every time, and most are that small. The
    chance follows from the seed, the step and the place of the parameter: alike in every process, and in a run that
    goes on.
    """

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], seed: int, eps: float = EPS
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        self._seed = seed

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step on the gradients that there are."""
        place = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                place += 1
                if parameter.grad is not None:
                    self._update(parameter, group, place)

    def _update(self, parameter: Tensor, group: dict[str, Any], place: int) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.float32)
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float32)
        state["step"] += 1
        step, (beta1, beta2) = int(state["step"]), group["betas"]
        seed = int(np.random.SeedSequence((self._seed, step, place)).generate_state(1, np.uint64)[0] >> 1)
        generator = torch.Generator(parameter.device).manual_seed(seed)
        size = group["lr"] / (1.0 - beta1**step)
        for weight, grad, mean, square in _chunks(parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"]):
            grad = grad.float()
            mean.lerp_(grad, 1.0 - beta1)
            square.mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
            root = (square / (1.0 - beta2**step)).sqrt_().add_(group["eps"])
            new = weight.float() * (1.0 - group["lr"] * group["weight_decay"])
            new.addcdiv_(mean, root, value=-size)
            weight.copy_(round_by_chance(new, generator) if weight.dtype == torch.bfloat16 else new)


def _chunks(*tensors: Tensor | None) -> Iterator[tuple[Tensor, ...]]:
    """Views of the same elements of all; tensors that do not lie in one row come whole."""
    there = [t for t in tensors if t is not None]
    if all(t.is_contiguous() for t in there):
        yield from zip(*(t.view(-1).split(CHUNK) for t in there), strict=True)
    else:
        yield tuple(there)


def round_by_chance(values: Tensor, generator: torch.Generator) -> Tensor:
    """float32 to bfloat16, to one of the two neighbours, the nearer one more often: right on average."""
    # bfloat16 is the upper half of float32's bits; a carry out of the lower half rounds up.
    noise = torch.randint(0, 1 << 16, values.shape, dtype=torch.int32, device=values.device, generator=generator)
    bits = (values.view(torch.int32) + noise) & -(1 << 16)
    return torch.where(values.isfinite(), bits.view(torch.float32), values).to(torch.bfloat16)
