"""Saving and restoring a training run without pickle: one safetensors file, the scalars as JSON in its header."""

from __future__ import annotations

import json
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
    model: nn.Module,
    ema: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scalars: dict[str, Any],
) -> None:
    """Write model, moving average, AdamW moments and `scalars` (JSON types), whole or not at all."""
    tensors: dict[str, Tensor] = {f"model/{n}": t for n, t in model.state_dict().items()}
    tensors |= {f"ema/{n}": t for n, t in ema.items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / (FILE + ".partial")
    copies = {n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}
    save_file(copies, str(partial), {SCALARS: json.dumps(scalars)})
    partial.replace(directory / FILE)


def restore(
    directory: Path, model: nn.Module, ema: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Fill everything from a saved run and return its scalars; None when there is no saved run.

    Raises SavedRunError when it cannot be read or does not fit the model.
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

    try:
        model.load_state_dict(part("model/"))
    except RuntimeError as error:
        raise SavedRunError(f"{directory}: the saved run is of another model ({error})") from error
    for name, tensor in part("ema/").items():
        ema[name].copy_(tensor)
    moments = part("optimizer/")
    for name, parameter in model.named_parameters():
        keys = {n.split("/", 1)[0]: t for n, t in moments.items() if n.split("/", 1)[1] == name}
        if keys:
            # The moments must lie in memory as their parameter does: the fused optimiser walks both side by side.
            optimizer.state[parameter] = {
                k: torch.empty_like(parameter).copy_(t) if t.shape == parameter.shape and k != "step" else t
                for k, t in keys.items()
            }
    return scalars
