"""Handlers for the events of nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..launch.event import Event
from ..launch.event_handler import EventHandler
from .events.lifecycle import StateTransition

if TYPE_CHECKING:
    from .actions import LifecycleNode

__all__ = ["OnStateTransition"]


class OnStateTransition(EventHandler):
    """Visits entities when a lifecycle node has changed its state.

    What is None is not looked at; `transition`, `start_state` and `goal_state` are labels. `matcher` replaces all
    other conditions.
    """

    def __init__(
        self,
        *,
        entities: Any,
        target_lifecycle_node: LifecycleNode | None = None,
        transition: str | None = None,
        start_state: str | None = None,
        goal_state: str | None = None,
        matcher: Callable[[Event], bool] | None = None,
        **kwargs: Any,
    ) -> None:
        from .actions import LifecycleNode

        if target_lifecycle_node is not None and not isinstance(target_lifecycle_node, LifecycleNode):
            raise RuntimeError("OnStateTransition requires a 'LifecycleNode' action as the target")

        def matches(event: Event) -> bool:
            return (
                isinstance(event, StateTransition)
                and (target_lifecycle_node is None or event.action is target_lifecycle_node)
                and (transition is None or event.transition == transition)
                and (start_state is None or event.start_state == start_state)
                and (goal_state is None or event.goal_state == goal_state)
            )

        super().__init__(matcher=matches if matcher is None else matcher, entities=entities, **kwargs)
