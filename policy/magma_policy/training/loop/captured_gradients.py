"""Gradients on a GPU from recorded work.

A small model's step is thousands of small kernels, and starting them takes the CPU several times longer than the GPU
needs to run them. So the work of a batch is recorded once for every shape, as a CUDA graph, and then only repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from magma_policy.training.recipes.robot_actions.step_batch import StepBatch, tensors, transformed

WARM_UP_RUNS = 3
"""Runs before recording, in which libraries choose their kernels and allocate their workspaces."""


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    batch: StepBatch
    losses: dict[str, Tensor]


class CapturedGradients:
    """Does what `backward` does, which adds the gradients of a batch to those of `parameters` and returns the losses.

    Gradients must be set to zero, not to None, between steps: the recording holds their addresses.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], backward: Callable[[StepBatch, bool], dict[str, Tensor]]
    ) -> None:
        self._parameters, self._backward = parameters, backward
        self._recordings: dict[Hashable, _Recording] = {}
        self._pool: Any = None

    def __call__(self, batch: StepBatch, with_actions: bool) -> dict[str, Tensor]:
        """The losses by name."""
        key = (with_actions, batch.shape)
        if key not in self._recordings:
            self._recordings[key] = self._record(batch, with_actions)
        recording = self._recordings[key]
        for own, new in zip(tensors(recording.batch), tensors(batch), strict=True):
            own.copy_(new)
        recording.graph.replay()
        return {name: loss.clone() for name, loss in recording.losses.items()}

    def _record(self, batch: StepBatch, with_actions: bool) -> _Recording:
        own = transformed(batch, torch.clone)
        before = [p.grad.clone() if p.grad is not None else None for p in self._parameters]
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                self._backward(own, with_actions)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as NCCL's, may go on talking to the GPU meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            losses = self._backward(own, with_actions)
        # Recordings are never repeated at the same time, so they can share their memory.
        self._pool = graph.pool()
        # The warm-up must leave no trace; a parameter that it was the first to reach has a gradient of zero now.
        for parameter, gradient in zip(self._parameters, before, strict=True):
            if parameter.grad is not None:
                parameter.grad.zero_() if gradient is None else parameter.grad.copy_(gradient)
        return _Recording(graph, own, losses)
