"""Gradients on a GPU from recorded work.

A small model's step is thousands of small kernels, and starting them takes the CPU several times longer than the GPU
needs to run them. So the work of a batch is recorded once for every shape, as a CUDA graph, and then only repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import Tensor, nn

from magma_policy.training.loop.nested_tensors import Batch, tensors, transformed

WARM_UP_RUNS = 3
"""Runs before recording, in which libraries choose their kernels and allocate their workspaces."""


@dataclass(frozen=True)
class _Recording(Generic[Batch]):
    graph: torch.cuda.CUDAGraph
    batch: Batch
    losses: dict[str, Tensor]


class CapturedGradients(Generic[Batch]):
    """Does what `backward` does, which adds the gradients of a batch to those of `parameters` and returns the losses.

    Gradients must be set to zero, not to None, between steps: the recording holds their addresses.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], backward: Callable[[Batch, bool], dict[str, Tensor]]
    ) -> None:
        self._parameters, self._backward = parameters, backward
        self._recordings: dict[Hashable, _Recording[Batch]] = {}
        self._pool: Any = None

    def __call__(self, batch: Batch, choice: bool) -> dict[str, Tensor]:
        """The losses by name; `choice` is whatever else decides what work there is."""
        key = (choice, tuple(tensor.shape for tensor in tensors(batch)))
        if key not in self._recordings:
            self._recordings[key] = self._record(batch, choice)
        recording = self._recordings[key]
        for own, new in zip(tensors(recording.batch), tensors(batch), strict=True):
            own.copy_(new)
        recording.graph.replay()
        return {name: loss.clone() for name, loss in recording.losses.items()}

    def _record(self, batch: Batch, choice: bool) -> _Recording:
        own = transformed(batch, torch.clone)
        before = [p.grad.clone() if p.grad is not None else None for p in self._parameters]
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                self._backward(own, choice)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as NCCL's, may go on talking to the GPU meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            losses = self._backward(own, choice)
        # Recordings are never repeated at the same time, so they can share their memory.
        self._pool = graph.pool()
        # The warm-up must leave no trace; a parameter that it was the first to reach has a gradient of zero now.
        for parameter, gradient in zip(self._parameters, before, strict=True):
            if parameter.grad is not None:
                parameter.grad.zero_() if gradient is None else parameter.grad.copy_(gradient)
        return _Recording(graph, own, losses)
