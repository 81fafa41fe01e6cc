"""What the losses of one step are computed from: tensors on the device, and nothing that the CPU would have to know."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch", bound="StepBatch | ActionSamples | TextBatch")


@dataclass(frozen=True)
class ActionSamples:
    """Steps whose actions are learned.

    instruction int64 (B,), the row of the prompt; robot int64 (B,); marks float32 (B, K, 2), fractions (x, y) of the
    picture; proprioception float32 (B, 16); values float32 (B, 7), the normalised actions; ids int64 (B, 7), their ids.
    """

    instruction: Tensor
    robot: Tensor
    marks: Tensor
    proprioception: Tensor
    values: Tensor
    ids: Tensor

    def first(self, count: int) -> ActionSamples:
        """The first `count` rows."""
        return transformed(self, lambda tensor: tensor[:count])


@dataclass(frozen=True)
class TextBatch:
    """Questions with their answers: ids int64 (B, T), padded on the left where `attention` bool (B, T) is False;
    labels int64 (B, N) of the last N ids, negative where they are not the answer's."""

    ids: Tensor
    attention: Tensor
    labels: Tensor


@dataclass(frozen=True)
class StepBatch:
    """`tiles` (B * rows * cols, 3, S, S) of the pictures of `image`, whose first ones `texts` are about; `states` are
    samples without a picture, with marks as the model would see them."""

    tiles: Tensor
    image: ActionSamples
    texts: TextBatch | None
    states: ActionSamples | None

    @property
    def shape(self) -> tuple[torch.Size, ...]:
        """Shapes of all tensors."""
        return tuple(tensor.shape for tensor in tensors(self))


def tensors(batch: StepBatch | ActionSamples | TextBatch | None) -> list[Tensor]:
    """All tensors of a batch, always in the same order."""
    if batch is None:
        return []
    values = [getattr(batch, field.name) for field in dataclasses.fields(batch)]
    return [t for value in values for t in ([value] if isinstance(value, Tensor) else tensors(value))]


def transformed(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with every tensor changed."""
    new: dict[str, Any] = {}
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if value is not None:
            new[field.name] = change(value) if isinstance(value, Tensor) else transformed(value, change)
    return dataclasses.replace(batch, **new)
