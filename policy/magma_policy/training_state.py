"""Saving and restoring a training run without pickle: tensors in safetensors, scalars in JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

TENSORS = "training_state.safetensors"
SCALARS = "training_state.json"


class TrainingStateError(RuntimeError):
    """A saved run does not fit the model or command that wants to continue it."""


def save(
    directory: Path,
    model: nn.Module,
    ema: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    generators: dict[str, torch.Generator],
    scalars: dict[str, Any],
) -> None:
    """Write model, moving average, AdamW moments, random states and `scalars`, both files renamed into place."""
    tensors: dict[str, Tensor] = {f"model/{n}": t for n, t in model.state_dict().items()}
    tensors |= {f"ema/{n}": t for n, t in ema.items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value
    tensors |= {f"generator/{n}": g.get_state() for n, g in generators.items()}
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / (TENSORS + ".partial")
    save_file({n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}, str(partial))
    scalars_partial = directory / (SCALARS + ".partial")
    scalars_partial.write_text(json.dumps(scalars) + "\n", encoding="utf-8")
    partial.replace(directory / TENSORS)
    scalars_partial.replace(directory / SCALARS)


def restore(
    directory: Path,
    model: nn.Module,
    ema: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    generators: dict[str, torch.Generator],
) -> dict[str, Any] | None:
    """Fill everything from a saved run and return its scalars; None when there is no saved run.

    Raises TrainingStateError when the saved tensors do not fit the model.
    """
    if not (directory / TENSORS).is_file() or not (directory / SCALARS).is_file():
        return None
    tensors = load_file(str(directory / TENSORS))
    scalars: dict[str, Any] = json.loads((directory / SCALARS).read_text(encoding="utf-8"))

    def part(prefix: str) -> dict[str, Tensor]:
        return {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}

    try:
        model.load_state_dict(part("model/"))
    except RuntimeError as error:
        raise TrainingStateError(f"{directory}: the saved run is of another model ({error})") from error
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
    for name, state in part("generator/").items():
        generators[name].set_state(state)
    return scalars
