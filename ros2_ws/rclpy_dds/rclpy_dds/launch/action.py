"""Base class of all actions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .condition import Condition
from .events import ExecutionComplete
from .launch_description_entity import LaunchDescriptionEntity

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class Action(LaunchDescriptionEntity):
    """Something to do while launching, unless its condition is false."""

    def __init__(self, *, condition: Condition | None = None) -> None:
        if condition is not None and not isinstance(condition, Condition):
            raise TypeError(
                f"{type(self).__name__}: condition must be a launch.conditions object such as IfCondition(...), "
                f"got {condition!r}"
            )
        self.__condition = condition
        # Set by actions that are not done when execute() returns.
        self._task: asyncio.Task[None] | None = None

    @property
    def condition(self) -> Condition | None:
        """The condition under which the action is executed; None means always."""
        return self.__condition

    def visit(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Execute the action if its condition holds."""
        if self.__condition is not None and not self.__condition.evaluate(context):
            return None
        entities = self.execute(context)
        completed = ExecutionComplete(action=self)
        if context.would_handle_event(completed):
            if self._task is None:
                context.emit_event_sync(completed)
            else:
                self._task.add_done_callback(lambda _: context.emit_event_sync(completed))
        return entities

    def execute(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Do the work and return the entities to visit next (or None)."""
        return None
