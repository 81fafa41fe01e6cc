"""Base class of the conditions an action may carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class Condition:
    """A predicate on the launch context; an action whose condition is false does nothing."""

    def __init__(self, *, predicate: Callable[[LaunchContext], bool] | None = None) -> None:
        self._predicate = predicate

    def describe(self) -> str:
        """Return one line that describes the condition."""
        return type(self).__name__

    def evaluate(self, context: LaunchContext) -> bool:
        """Return whether the condition holds in this context."""
        return self._predicate(context) if self._predicate is not None else True
