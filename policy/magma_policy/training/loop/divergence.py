"""Steps that taught nothing because their numbers were none, and when to give up."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class DivergedError(RuntimeError):
    """The training has no finite loss, gradient or weights any more; the message says what stays and what to do."""


class SkippedSteps:
    """Counts steps whose loss or gradient was not finite, and gives up after `limit` of them in a row."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_a_row = 0
        self.total = 0

    def note(self, finite: bool, step: int) -> None:
        """Takes in whether step number `step` was finite. Raises DivergedError at the limit."""
        if finite:
            self._in_a_row = 0
            return
        self.total += 1
        self._in_a_row += 1
        if self._in_a_row == self._limit:
            raise DivergedError(
                f"steps {step - self._limit + 1} to {step} had no finite loss or gradient and were skipped: the "
                "training has diverged; the last checkpoint that was saved is finite and stays. Train anew with a "
                "lower learning_rate, or look for what is wrong in the demonstrations"
            )


def all_finite(tensors: Mapping[str, Tensor]) -> Tensor:
    """bool (): whether every number of all tensors is finite, on their device."""
    lows_highs = [torch.stack(t.detach().aminmax()).float() for t in tensors.values() if t.numel()]
    return torch.stack(lows_highs).isfinite().all() if lows_highs else torch.tensor(True)
