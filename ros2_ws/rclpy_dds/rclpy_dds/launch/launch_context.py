"""State shared by the entities of one launch: configurations, environment, event handlers, running tasks."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Coroutine, MutableMapping
from typing import Any

from .event import Event
from .event_handler import BaseEventHandler
from .substitution import Substitution


class Locals:
    """Values that hold while a handler or an included file is visited, read as attributes (`context.locals.event`)."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"context.locals has no value named {name!r} here")


class LaunchContext:
    """What an action gets to see and change. Everything here is used from the thread of the launch loop only."""

    def __init__(self, *, argv: list[str] | None = None, noninteractive: bool = False) -> None:
        self.argv = list(argv or [])
        self.noninteractive = noninteractive
        self.launch_configurations: dict[str, Any] = {}
        # Names of launch configurations that were read or declared: a given name in neither is a typing error.
        self.used_configurations: set[str] = set()
        self.hurry = asyncio.Event()
        self.processes: list[Any] = []
        self.temporary_files: list[str] = []
        self.exception: BaseException | None = None
        self._initial_environment = dict(os.environ)
        self._globals: dict[str, Any] = {}
        self._locals: dict[str, Any] = {}
        self._locals_stack: list[dict[str, Any]] = []
        self._configurations_stack: list[dict[str, Any]] = []
        self._environment_stack: list[dict[str, str]] = []
        self._event_handlers: deque[BaseEventHandler] = deque()
        self._event_queue: deque[Event] = deque()
        self._wake: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_shutdown = False

    # Configurations and environment

    @property
    def environment(self) -> MutableMapping[str, str]:
        """Environment that started processes inherit: this process's own."""
        return os.environ

    def push_launch_configurations(self) -> None:
        """Remember the configurations, to be restored by the matching pop."""
        self._configurations_stack.append(
            {
                name: list(value) if isinstance(value, list) else value
                for name, value in self.launch_configurations.items()
            }
        )

    def pop_launch_configurations(self) -> None:
        """Restore the configurations of the matching push."""
        if not self._configurations_stack:
            raise RuntimeError("PopLaunchConfigurations without a matching PushLaunchConfigurations")
        self.launch_configurations = self._configurations_stack.pop()

    def push_environment(self) -> None:
        """Remember the environment, to be restored by the matching pop."""
        self._environment_stack.append(dict(os.environ))

    def pop_environment(self) -> None:
        """Restore the environment of the matching push."""
        if not self._environment_stack:
            raise RuntimeError("PopEnvironment without a matching PushEnvironment")
        os.environ.clear()
        os.environ.update(self._environment_stack.pop())

    def reset_environment(self) -> None:
        """Restore the environment of the beginning."""
        os.environ.clear()
        os.environ.update(self._initial_environment)

    def perform_substitution(self, sub: Substitution) -> str:
        """Return the text of a substitution."""
        return sub.perform(self)

    # Locals

    @property
    def locals(self) -> Locals:
        """The values that hold at this place of the launch, as attributes."""
        return Locals({**self._globals, **self._locals})

    def extend_locals(self, extensions: dict[str, Any]) -> None:
        """Add or replace local values."""
        self._locals.update(extensions)

    def extend_globals(self, extensions: dict[str, Any]) -> None:
        """Add or replace values that hold everywhere in the launch, also read as `context.locals.name`."""
        self._globals.update(extensions)

    def get_locals_as_dict(self) -> dict[str, Any]:
        """Return a copy of the local values, with those that hold everywhere."""
        return {**self._globals, **self._locals}

    def push_locals(self) -> None:
        """Open a scope of local values."""
        self._locals_stack.append(dict(self._locals))

    def pop_locals(self) -> None:
        """Close the innermost scope of local values."""
        self._locals = self._locals_stack.pop()

    # Events

    def register_event_handler(self, event_handler: BaseEventHandler, append: bool = False) -> None:
        """Add a handler; the newest is asked first unless `append`."""
        if append:
            self._event_handlers.append(event_handler)
        else:
            self._event_handlers.appendleft(event_handler)

    def unregister_event_handler(self, event_handler: BaseEventHandler) -> None:
        """Remove a handler. Raises ValueError if it is not registered."""
        self._event_handlers.remove(event_handler)

    def is_registered(self, event_handler: BaseEventHandler) -> bool:
        """Return whether a handler is registered."""
        return event_handler in self._event_handlers

    def emit_event_sync(self, event: Event) -> None:
        """Queue an event; handlers run from the launch loop."""
        self._event_queue.append(event)
        self._wake_up()

    async def emit_event(self, event: Event) -> None:
        """Queue an event; handlers run from the launch loop."""
        self.emit_event_sync(event)

    def would_handle_event(self, event: Event) -> bool:
        """Return whether any registered handler matches the event."""
        return any(handler.matches(event) for handler in self._event_handlers)

    # Loop

    @property
    def asyncio_loop(self) -> asyncio.AbstractEventLoop | None:
        """The running event loop, None while not running."""
        return self._loop

    @property
    def is_shutdown(self) -> bool:
        """Whether shutdown has begun."""
        return self._is_shutdown

    def add_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as part of the launch: the launch is not over before it is."""
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("this action can only be executed by a running LaunchService")
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def add_completion_future(self, completion_future: asyncio.Future[Any]) -> None:
        """The launch is not over before this future is done."""

        async def wait() -> None:
            await completion_future

        self.add_task(wait())

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.exception = self.exception or task.exception()
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None:
            self._wake.set()
