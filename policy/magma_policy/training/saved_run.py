"""Saving and restoring a training run without pickle: one safetensors file, the scalars as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

FILE = "training_state.safetensors"
SCALARS = "scalars"


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
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / (FILE + ".partial")
    save_file(
        {n: t.detach().cpu().contiguous() for n, t in tensors.items()}, str(partial), {SCALARS: json.dumps(scalars)}
    )
    partial.replace(directory / FILE)


def restore(
    directory: Path,
    parameters: Mapping[str, nn.Parameter],
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> dict[str, Any] | None:
    """Fill everything from a saved run and return its scalars; None when there is no saved run.

    Raises SavedRunError when it cannot be read or is of other parameters; nothing was changed then.
    """
    path = directory / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            scalars: dict[str, Any] = json.loads((file.metadata() or {})[SCALARS])
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise SavedRunError(f"{path}: not a saved run ({error!r}); remove it to start anew") from error

    def part(prefix: str) -> dict[str, Tensor]:
        return {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}

    weights, averages, moments = part("model/"), part("ema/"), part("optimizer/")
    for what, mine, stored in (("parameters", parameters, weights), ("moving average", average, averages)):
        other = {
            n for n in set(mine) | set(stored) if n not in mine or n not in stored or mine[n].shape != stored[n].shape
        }
        if other:
            raise SavedRunError(f"{directory}: the saved run is of another model; its {what} differ in {sorted(other)}")
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
