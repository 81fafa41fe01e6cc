"""Whether weights are numbers, and stay numbers in the type they are converted to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from magma_policy.errors import CheckpointError
from magma_policy.files.weight_files import type_name


class WeightCheck:
    """Looks at weights one by one, each where it lies, and tells at the end what was wrong with them.

    Nothing is waited for in between: on a GPU the extremes of all tensors are fetched together by `problem`.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[str, torch.dtype, Tensor]] = []

    def add(self, name: str, weight: Tensor, dtype: torch.dtype | None = None) -> None:
        """`weight` as it is stored, and the type it will be converted to, None when it stays what it is."""
        if weight.numel():
            self._seen.append((name, dtype or weight.dtype, torch.stack(weight.detach().aminmax())))

    def problem(self) -> str | None:
        """One sentence about the first tensor that is not finite, or would not be after its conversion; else None."""
        found = []
        for name, dtype, extremes in self._seen:
            before = extremes.cpu()
            after = before.to(dtype)
            for value, converted in zip(before.tolist(), after.tolist(), strict=True):
                if not math.isfinite(converted):
                    found.append((name, value, dtype))
                    break
        if not found:
            return None
        (name, value, dtype), more = found[0], len(found) - 1
        others = f" (and {more} more tensors are alike)" if more else ""
        told = f"tensor {name} is not finite in {type_name(dtype)}: it holds {value:g}{others}"
        if not math.isfinite(value):
            return f"{told}; the file is damaged or its training diverged, take another"
        return f"{told}, beyond {torch.finfo(dtype).max:g}; take bfloat16 or float32"


def require_finite(state: Mapping[str, Tensor], dtype: torch.dtype, directory: Path) -> None:
    """Before a checkpoint is written to `directory` in `dtype`. Raises CheckpointError."""
    check = WeightCheck()
    for name, weight in state.items():
        check.add(name, weight, dtype)
    if (problem := check.problem()) is not None:
        raise CheckpointError(f"{directory}: not written: {problem}")
