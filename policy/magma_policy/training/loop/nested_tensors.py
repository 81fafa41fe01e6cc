"""Dataclasses of tensors, and of such dataclasses, None where something is left out: what batches are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Batch = TypeVar("Batch", bound="DataclassInstance")


def tensors(batch: Any) -> list[Tensor]:
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
