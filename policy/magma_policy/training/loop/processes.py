"""Several training processes (`torchrun --nproc-per-node N -m magma_policy.commands.train ...`), or one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from magma_contracts.errors import ConfigError

TIMEOUT = timedelta(minutes=30)
"""How long one process waits for another: the first validates and saves alone. One that died is noticed at once, where
its connections close."""
BUCKET = 1 << 25
"""Elements that are exchanged at once: many small messages are slow, and one of everything would double the memory."""


def join(device_name: str) -> None:
    """Joins the other processes when torchrun started this one; must come before any other call of this module.

    `device_name` is where the training runs: GPUs talk by NCCL, CPUs by Gloo. Raises ConfigError as `device` does.
    """
    chosen = device(device_name)
    if chosen.type == "cuda":
        # NCCL and tensors without an index use the current device.
        torch.cuda.set_device(chosen)
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)


def leave() -> None:
    """Ends what `join` began."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def device(name: str) -> torch.device:
    """The device of that name; "cuda" is the GPU of this process' local rank. ConfigError when it is not there."""
    chosen = torch.device(name)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} asked for, but torch sees no CUDA GPU here; use --device cpu")
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return chosen


def share_parameters(parameters: Iterable[nn.Parameter]) -> None:
    """Gives every process the first one's values."""
    if dist.is_initialized():
        for parameter in parameters:
            # Kernels may lie in memory channels-last, which not every backend sends.
            values = parameter.data.contiguous()
            dist.broadcast(values, src=0)
            parameter.data.copy_(values)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Makes every process' gradients the mean over all of them, where one without a gradient counts as zero; a
    parameter that has none anywhere keeps none."""
    if not dist.is_initialized():
        return
    place = parameters[0].device
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=place)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    gradients: list[Tensor] = []
    for parameter, some in zip(parameters, used.tolist(), strict=True):
        if some:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for gradient, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(tensors: Sequence[Tensor]) -> Iterable[list[Tensor]]:
    """Neighbours of one type, together at most `BUCKET` elements unless one alone has more."""
    bucket: list[Tensor] = []
    filled = 0
    for tensor in tensors:
        if bucket and (filled + tensor.numel() > BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, filled = [], 0
        bucket.append(tensor)
        filled += tensor.numel()
    if bucket:
        yield bucket


def _together(value: int, operation: dist.ReduceOp.RedOpType) -> int:
    place = "cuda" if dist.get_backend() == "nccl" else "cpu"
    together = torch.tensor(value, device=place)
    dist.all_reduce(together, op=operation)
    return int(together)


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process, so that all stop after the same step."""
    return bool(_together(int(flag), dist.ReduceOp.MAX)) if dist.is_initialized() else flag


def same_everywhere(value: int) -> bool:
    """Whether all processes have this value."""
    if not dist.is_initialized():
        return True
    return _together(value, dist.ReduceOp.MAX) == _together(value, dist.ReduceOp.MIN)
