"""Several training processes (`torchrun --nproc-per-node N -m magma_policy.training.command ...`), or one."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn

from magma_policy.config import ConfigError


def join() -> None:
    """Joins the other processes when torchrun started this one; must come before any other call of this module."""
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def leave() -> None:
    """Ends what `join` began."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def device(name: str) -> torch.device:
    """The device of that name; "cuda" is the GPU of this process' local rank. ConfigError when it is not there."""
    chosen = torch.device(name)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} asked for, but torch sees no CUDA GPU here; use --device cpu")
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return chosen


def average_gradients(model: nn.Module) -> None:
    """Makes every process' gradients the mean over all of them."""
    if not dist.is_initialized():
        return
    # A parameter may have a gradient here and none there; all must take part in every exchange.
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process, so that all stop after the same step."""
    if not dist.is_initialized():
        return flag
    place = "cuda" if dist.get_backend() == "nccl" else "cpu"
    together = torch.tensor(int(flag), device=place)
    dist.all_reduce(together, op=dist.ReduceOp.MAX)
    return bool(together)
