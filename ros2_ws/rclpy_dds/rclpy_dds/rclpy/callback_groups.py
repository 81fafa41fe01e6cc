"""Callback groups: which callbacks may run at the same time."""

import threading
import weakref
from typing import Any


class CallbackGroup:
    """Base class. An entity belongs to exactly one group."""

    def __init__(self) -> None:
        self.entities: set[weakref.ReferenceType] = set()

    def add_entity(self, entity: Any) -> None:
        """Add an entity (subscription, timer, ...)."""
        self.entities.add(weakref.ref(entity, self.entities.discard))

    def has_entity(self, entity: Any) -> bool:
        """Return whether an entity belongs to this group."""
        return weakref.ref(entity) in self.entities

    def can_execute(self, entity: Any) -> bool:
        """Return whether a callback of the entity may begin now."""
        raise NotImplementedError("CallbackGroup is abstract: use one of its subclasses")

    def beginning_execution(self, entity: Any) -> bool:
        """Note that a callback is about to begin; return False when it must not."""
        raise NotImplementedError("CallbackGroup is abstract: use one of its subclasses")

    def ending_execution(self, entity: Any) -> None:
        """Note that a callback has ended."""
        raise NotImplementedError("CallbackGroup is abstract: use one of its subclasses")


class ReentrantCallbackGroup(CallbackGroup):
    """Any number of its callbacks may run at the same time."""

    def can_execute(self, entity: Any) -> bool:
        return True

    def beginning_execution(self, entity: Any) -> bool:
        return True

    def ending_execution(self, entity: Any) -> None:
        """Nothing to note."""


class MutuallyExclusiveCallbackGroup(CallbackGroup):
    """One callback of the group runs at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._active_entity: Any = None
        self._lock = threading.Lock()

    def can_execute(self, entity: Any) -> bool:
        return self._active_entity is None

    def beginning_execution(self, entity: Any) -> bool:
        with self._lock:
            if self._active_entity is not None:
                return False
            self._active_entity = entity
            return True

    def ending_execution(self, entity: Any) -> None:
        with self._lock:
            self._active_entity = None
