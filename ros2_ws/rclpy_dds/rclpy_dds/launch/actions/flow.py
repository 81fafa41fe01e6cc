"""Actions that group, include, delay or react."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from .. import logging as launch_logging
from ..action import Action
from ..event import Event
from ..event_handler import BaseEventHandler, EventHandler
from ..events import Shutdown as ShutdownEvent
from ..events import TimerEvent
from ..events.process import ProcessExited
from ..launch_description_entity import LaunchDescriptionEntity
from ..launch_description_source import LaunchDescriptionSource
from ..launch_description_sources import AnyLaunchDescriptionSource
from ..some_substitutions_type import SomeSubstitutionsType
from ..utilities import (
    describe_substitutions,
    normalize_to_list_of_entities,
    normalize_to_list_of_substitutions,
    perform_substitutions,
    resolve,
    typed_value,
)
from .configurations import (
    PopLaunchConfigurations,
    PushLaunchConfigurations,
    ResetLaunchConfigurations,
    SetLaunchConfiguration,
)
from .environment import PopEnvironment, PushEnvironment

if TYPE_CHECKING:
    from ..launch_context import LaunchContext


class LogInfo(Action):
    """Writes a message of launch's own."""

    def __init__(self, *, msg: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._msg = normalize_to_list_of_substitutions(msg)

    @property
    def msg(self) -> SomeSubstitutionsType:
        """The message, as substitutions."""
        return self._msg

    def describe(self) -> str:
        return f"LogInfo({describe_substitutions(self._msg)})"

    def execute(self, context: LaunchContext) -> None:
        launch_logging.get_logger("launch.user").info("%s", perform_substitutions(context, self._msg))


class OpaqueFunction(Action):
    """Calls `function(context, *args, **kwargs)`; the entities it returns are visited next."""

    def __init__(
        self,
        *,
        function: Callable[..., Any],
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **left_over_kwargs: Any,
    ) -> None:
        super().__init__(**left_over_kwargs)
        if not callable(function):
            raise TypeError(f"OpaqueFunction: function must be callable, got {function!r}")
        self._function = function
        self._args = list(args or ())
        self._kwargs = dict(kwargs or {})

    def describe(self) -> str:
        return f"OpaqueFunction({getattr(self._function, '__name__', self._function)})"

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        return normalize_to_list_of_entities(self._function(context, *self._args, **self._kwargs))


class OpaqueCoroutine(Action):
    """Runs `coroutine(context, *args, **kwargs)` beside the rest; it is cancelled when the launch ends."""

    def __init__(
        self,
        *,
        coroutine: Callable[..., Coroutine[Any, Any, Any]],
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        ignore_context: bool = False,
        **left_over_kwargs: Any,
    ) -> None:
        super().__init__(**left_over_kwargs)
        if not inspect.iscoroutinefunction(coroutine):
            raise TypeError(f"OpaqueCoroutine expected a coroutine function for 'coroutine', got {coroutine!r}")
        self._coroutine = coroutine
        self._args = list(args or ())
        self._kwargs = dict(kwargs or {})
        self._ignore_context = ignore_context
        self._task: asyncio.Task[Any] | None = None

    def describe(self) -> str:
        return f"OpaqueCoroutine({self._coroutine.__name__})"

    def get_asyncio_future(self) -> asyncio.Task[Any] | None:
        """Return the running coroutine's task, None before."""
        return self._task

    def execute(self, context: LaunchContext) -> None:
        args = self._args if self._ignore_context else [context, *self._args]
        self._task = task = context.add_task(self._coroutine(*args, **self._kwargs))
        context.register_event_handler(
            EventHandler(
                matcher=lambda event: isinstance(event, ShutdownEvent),
                entities=OpaqueFunction(function=lambda context: _cancel(task)),
            )
        )


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


class GroupAction(Action):
    """Visits several actions; launch configurations and environment changed within a scoped group end with it.

    With `forwarding=False` the group sees no configurations from outside except `launch_configurations`.
    """

    def __init__(
        self,
        actions: Iterable[LaunchDescriptionEntity],
        *,
        scoped: bool = True,
        forwarding: bool = True,
        launch_configurations: dict[Any, SomeSubstitutionsType] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._actions = normalize_to_list_of_entities(actions)
        self._scoped = scoped
        self._forwarding = forwarding
        self._configurations = dict(launch_configurations or {})

    def describe(self) -> str:
        return "GroupAction" if self._scoped else "GroupAction(scoped=False)"

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return self._actions

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        settings: list[LaunchDescriptionEntity] = [
            SetLaunchConfiguration(name, value) for name, value in self._configurations.items()
        ]
        if not self._scoped:
            return settings + self._actions
        if not self._forwarding:
            settings = [ResetLaunchConfigurations(self._configurations)]
        return [
            PushLaunchConfigurations(),
            PushEnvironment(),
            *settings,
            *self._actions,
            PopEnvironment(),
            PopLaunchConfigurations(),
        ]


class IncludeLaunchDescription(Action):
    """Visits another launch file with the given arguments (as in ROS 2, they stay set after it)."""

    def __init__(
        self,
        launch_description_source: LaunchDescriptionSource | SomeSubstitutionsType,
        *,
        launch_arguments: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._source = (
            launch_description_source
            if isinstance(launch_description_source, LaunchDescriptionSource)
            else AnyLaunchDescriptionSource(launch_description_source)
        )
        self._arguments = [] if launch_arguments is None else [(name, value) for name, value in launch_arguments]

    @property
    def launch_description_source(self) -> LaunchDescriptionSource:
        """Where the launch description comes from."""
        return self._source

    @property
    def launch_arguments(self) -> list[tuple[SomeSubstitutionsType, SomeSubstitutionsType]]:
        """The given arguments, pairs of name and value."""
        return self._arguments

    def describe(self) -> str:
        return f"IncludeLaunchDescription({self._source.location})"

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        description = self._source.try_get_launch_description_without_context()
        return [] if description is None else [description]

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        description = self._source.get_launch_description(context)
        settings: list[LaunchDescriptionEntity] = []
        given = set(context.launch_configurations)
        for name, value in self._arguments:
            settings.append(SetLaunchConfiguration(name, value))
            given.add(resolve(context, name))
        for argument in description.get_launch_arguments():
            if argument.default_value is None and not argument._conditionally_included and argument.name not in given:
                raise RuntimeError(
                    f"Included launch description missing required argument '{argument.name}' (description: "
                    f"'{argument.description}'), given: [{', '.join(sorted(given))}]"
                )
        context.push_locals()
        path = os.path.abspath(self._source.location)
        context.extend_locals(
            {
                "current_launch_file_path": path,
                "current_launch_file_directory": os.path.dirname(path),
            }
        )
        return [*settings, description, OpaqueFunction(function=lambda context: context.pop_locals())]


class RegisterEventHandler(Action):
    """Registers an event handler."""

    def __init__(self, event_handler: BaseEventHandler, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(event_handler, BaseEventHandler):
            raise TypeError(f"RegisterEventHandler expects an event handler, got {event_handler!r}")
        self._event_handler = event_handler

    @property
    def event_handler(self) -> BaseEventHandler:
        """The handler."""
        return self._event_handler

    def describe(self) -> str:
        return f"RegisterEventHandler({type(self._event_handler).__name__})"

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return self._event_handler.get_sub_entities()

    def execute(self, context: LaunchContext) -> None:
        context.register_event_handler(self._event_handler)


class UnregisterEventHandler(Action):
    """Removes an event handler."""

    def __init__(self, event_handler: BaseEventHandler, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._event_handler = event_handler

    @property
    def event_handler(self) -> BaseEventHandler:
        """The handler."""
        return self._event_handler

    def execute(self, context: LaunchContext) -> None:
        context.unregister_event_handler(self._event_handler)


class EmitEvent(Action):
    """Emits an event."""

    def __init__(self, *, event: Event, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(event, Event):
            raise TypeError(f"EmitEvent expects an event, got {event!r}")
        self._event = event

    @property
    def event(self) -> Event:
        """The event."""
        return self._event

    def describe(self) -> str:
        return f"EmitEvent(event='{self._event.name}')"

    def execute(self, context: LaunchContext) -> None:
        context.emit_event_sync(self._event)


class Shutdown(EmitEvent):
    """Ends the launch."""

    def __init__(self, *, reason: str = "reason not given", **kwargs: Any) -> None:
        super().__init__(event=ShutdownEvent(reason=reason, due_to_sigint=False), **kwargs)

    def execute(self, context: LaunchContext) -> None:
        cause = context.get_locals_as_dict().get("event")
        if isinstance(cause, ProcessExited):
            launch_logging.get_logger("launch").info(
                "process[%s] was required: shutting down launched system", cause.process_name
            )
        super().execute(context)


class TimerAction(Action):
    """Visits actions after `period` seconds, unless canceled or (by default) the launch ends before."""

    def __init__(
        self,
        *,
        period: float | SomeSubstitutionsType,
        actions: Iterable[LaunchDescriptionEntity],
        cancel_on_shutdown: bool | SomeSubstitutionsType = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._period = period
        self._actions = normalize_to_list_of_entities(actions)
        self._cancel_on_shutdown = cancel_on_shutdown
        self._canceled = asyncio.Event()
        self._elapsed = asyncio.Event()

    @property
    def period(self) -> float | SomeSubstitutionsType:
        """Seconds to wait."""
        return self._period

    @property
    def actions(self) -> list[LaunchDescriptionEntity]:
        """The actions that are visited."""
        return self._actions

    def describe(self) -> str:
        return f"TimerAction(period={self._period})"

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return self._actions

    def cancel(self) -> None:
        """Give up waiting; after the time has passed, or before the start, this is no error."""
        self._canceled.set()

    def set_elapsed(self) -> None:
        """Note that the time has passed."""
        self._elapsed.set()

    def start_waiting(self, context: LaunchContext, period_s: float) -> None:
        """Arrange for `set_elapsed` to be called after the period."""
        if context.asyncio_loop is None:
            raise RuntimeError("this action can only be executed by a running LaunchService")
        context.asyncio_loop.call_later(period_s, self.set_elapsed)

    def execute(self, context: LaunchContext) -> None:
        period = typed_value(context, self._period, float)
        values = context.get_locals_as_dict()

        def react(event: Event, context: LaunchContext) -> list[LaunchDescriptionEntity]:
            context.extend_locals(values)
            return self._actions

        handler = _TimerHandler(self, react)

        async def wait() -> None:
            either = [asyncio.ensure_future(event.wait()) for event in (self._canceled, self._elapsed)]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            for waiting in either:
                waiting.cancel()
            if not self._canceled.is_set():
                context.register_event_handler(handler)
                context.emit_event_sync(TimerEvent(timer_action=self))

        if typed_value(context, self._cancel_on_shutdown, bool):
            context.register_event_handler(
                EventHandler(
                    matcher=lambda event: isinstance(event, ShutdownEvent),
                    entities=OpaqueFunction(function=lambda context: self.cancel()),
                )
            )
        self._task = context.add_task(wait())
        self.start_waiting(context, period)


class _TimerHandler(BaseEventHandler):
    """Visits a timer's actions when its time has come."""

    def __init__(self, timer: TimerAction, react: Callable[[Event, LaunchContext], Any]) -> None:
        super().__init__(
            matcher=lambda event: isinstance(event, TimerEvent) and event.timer_action is timer, handle_once=True
        )
        self._react = react

    def handle(self, event: Event, context: LaunchContext) -> Any:
        super().handle(event, context)
        return self._react(event, context)
