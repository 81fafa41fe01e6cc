"""Base class of what a launch description consists of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class LaunchDescriptionEntity:
    """Something that can be visited while launching: an action or a whole launch description."""

    def visit(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Do the entity's work and return the entities to visit next, in order (or None)."""
        raise NotImplementedError(f"{type(self).__name__} does not implement visit()")

    def describe(self) -> str:
        """Return one line that describes the entity."""
        return type(self).__name__

    def get_sub_entities(self) -> Iterable[LaunchDescriptionEntity]:
        """Return the entities that this one contains and that are known without launching."""
        return []
