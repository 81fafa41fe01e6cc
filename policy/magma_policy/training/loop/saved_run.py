"""Saving and restoring a training run without pickle: one safetensors file, the scalars as JSON in its header."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from magma_contracts.text import printable
from magma_policy.files.whole_files import whole_file
from magma_policy.training.loop.divergence import all_finite

FILE = "training_state.safetensors"
SCALARS = "scalars"
CHECKSUM = "checksum"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of a parameter."""


class SavedRunError(RuntimeError):
    """A saved run cannot be read, or does not fit the model or command that wants to continue it."""


def save(
    directory: Path,
    parameters: Mapping[str, nn.Parameter],
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scalars: dict[str, Any],
) -> None:
    """Write the trained parameters by their names, moving average, AdamW moments and `scalars` (JSON types), whole or
    not at all."""
    tensors: dict[str, Tensor] = {f"model/{n}": p for n, p in parameters.items()}
    tensors |= {f"ema/{n}": t for n, t in average.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value
    stored = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
    signed = {**scalars, CHECKSUM: _checksum(stored, scalars)}
    with whole_file(directory / FILE) as partial:
        save_file(stored, str(partial), {SCALARS: json.dumps(signed)})


def _checksum(tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> int:
    """CRC-32 over everything: a run must not go on from bits that a disk or copy has changed."""
    value = zlib.crc32(json.dumps(scalars, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), value)
    return value


def restore(
    directory: Path,
    parameters: Mapping[str, nn.Parameter],
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> dict[str, Any] | None:
    """Fill everything from a saved run and return its scalars; None when there is no saved run.

    Raises SavedRunError when it cannot be read, is damaged or of other parameters; nothing was changed then.
    """
    path = directory / FILE
    if not path.is_file():
        return None
    tensors, scalars = _read(path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        prefix, _, rest = name.partition("/")
        if prefix not in parts:
            raise SavedRunError(f"{path}: not a saved run (it holds {printable(name, 80)!r})")
        parts[prefix][rest] = tensor
    weights, averages, moments = parts["model"], parts["ema"], parts["optimizer"]
    for what, mine, stored in (("parameters", parameters, weights), ("moving average", average, averages)):
        other = {
            n for n in set(mine) | set(stored) if n not in mine or n not in stored or mine[n].shape != stored[n].shape
        }
        if other:
            raise SavedRunError(
                f"{directory}: the saved run is of another model; its {what} differ in {printable(sorted(other))}"
            )
    for name, tensor in moments.items():
        key, _, owner = name.partition("/")
        if owner not in parameters or tensor.shape not in ((), parameters[owner].shape):
            raise SavedRunError(f"{directory}: the saved run is of another model; its optimiser has {printable(name)}")
        if key not in MOMENTS:
            raise SavedRunError(f"{directory}: the saved run is of another optimiser; it has {printable(key, 80)!r}")
    _check_whole(path, tensors, scalars)
    with torch.no_grad():
        for name, tensor in weights.items():
            parameters[name].copy_(tensor)
        for name, tensor in averages.items():
            average[name].copy_(tensor)
    for name, tensor in moments.items():
        key, owner = name.split("/", 1)
        parameter = parameters[owner]
        if tensor.shape == parameter.shape and key != "step":
            # They must lie in memory as their parameter does: the fused optimiser walks both side by side.
            tensor = torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
        elif optimizer.defaults.get("fused"):
            # Its count of steps lies beside the parameter too.
            tensor = tensor.to(parameter.device)
        optimizer.state[parameter][key] = tensor
    return scalars


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            scalars = json.loads((file.metadata() or {})[SCALARS])
        if not isinstance(scalars, dict):
            raise ValueError("its scalars are none")
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise SavedRunError(f"{path}: not a saved run ({printable(error)}); remove it to start anew") from error
    return tensors, scalars


def _check_whole(path: Path, tensors: Mapping[str, Tensor], scalars: dict[str, Any]) -> None:
    """Takes the checksum out of `scalars`. Raises SavedRunError when anything was changed since it was saved, or a
    number is not finite."""
    # Runs from before there was one have none, and do not count skipped steps either.
    checksum = scalars.pop(CHECKSUM, None)
    step, history = scalars.get("step"), scalars.get("history")
    problem = None
    if type(step) is not int or step < 0 or not isinstance(history, dict):
        problem = "tells no step and history"
    elif (checksum is not None or "skipped" in scalars) and checksum != _checksum(tensors, scalars):
        problem = "is damaged, its checksum differs"
    elif not all_finite(tensors):
        problem = "holds numbers that are not finite"
    if problem is not None:
        raise SavedRunError(f"{path}: the saved run {problem}; remove it to start anew")
