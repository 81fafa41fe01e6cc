"""Exponential moving average of the weights that are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """Averages `tensors`, float32, by the names of the parameters; none at all when `decay` is 0."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self.tensors: dict[str, Tensor] = {}
        if decay:
            self.tensors = {n: p.detach().to(torch.float32, copy=True) for n, p in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps; the first ones count more, so that the start is forgotten."""
        if self.tensors:
            decay = min(self._decay, (1.0 + step) / (10.0 + step))
            current = [self._parameters[name].detach().float() for name in self.tensors]
            torch._foreach_lerp_(list(self.tensors.values()), current, 1.0 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the parameters hold their averages; not to be trained or changed there."""
        kept = {name: self._parameters[name].data for name in self.tensors}
        try:
            for name, tensor in self.tensors.items():
                self._parameters[name].data = tensor.to(kept[name].dtype)
            yield
        finally:
            for name, tensor in kept.items():
                self._parameters[name].data = tensor
