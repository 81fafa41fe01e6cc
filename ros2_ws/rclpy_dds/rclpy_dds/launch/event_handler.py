"""Base classes of event handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .event import Event
from .launch_description_entity import LaunchDescriptionEntity
from .utilities import normalize_to_list_of_entities

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class BaseEventHandler:
    """Decides which events concern it and what to do about them."""

    def __init__(self, *, matcher: Callable[[Event], bool], handle_once: bool = False) -> None:
        self._matcher = matcher
        self._handle_once = handle_once

    @property
    def handle_once(self) -> bool:
        """Whether the handler removes itself after the first event it handled."""
        return self._handle_once

    def matches(self, event: Event) -> bool:
        """Return whether the handler wants this event."""
        return self._matcher(event)

    def handle(self, event: Event, context: LaunchContext) -> Any:
        """React to the event and return the entities to visit (or None)."""
        context.extend_locals({"event": event})
        if self._handle_once:
            context.unregister_event_handler(self)
        return None

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        """Return the entities known to be visited when the event comes."""
        return []


class EventHandler(BaseEventHandler):
    """Visits fixed entities at each event that the matcher accepts."""

    def __init__(self, *, matcher: Callable[[Event], bool], entities: object = None, handle_once: bool = False) -> None:
        super().__init__(matcher=matcher, handle_once=handle_once)
        self._entities = normalize_to_list_of_entities(entities)

    @property
    def entities(self) -> list[LaunchDescriptionEntity]:
        """The entities that are visited."""
        return self._entities

    def handle(self, event: Event, context: LaunchContext) -> Any:
        super().handle(event, context)
        return self._entities

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return self._entities


class CallbackEventHandler(BaseEventHandler):
    """Visits fixed entities, or calls `function(event, context)` and visits what it returns."""

    def __init__(self, *, matcher: Callable[[Event], bool], reaction: Any, handle_once: bool = False) -> None:
        super().__init__(matcher=matcher, handle_once=handle_once)
        self._function = reaction if callable(reaction) else None
        self._entities = [] if self._function is not None else normalize_to_list_of_entities(reaction)

    def handle(self, event: Event, context: LaunchContext) -> Any:
        super().handle(event, context)
        return self._function(event, context) if self._function is not None else self._entities

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return self._entities
