"""Handlers for the events that launch files react to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .action import Action
from .event import Event
from .event_handler import CallbackEventHandler
from .events import ExecutionComplete, IncludeLaunchDescription, Shutdown
from .events.process import ProcessExited, ProcessIO, ProcessStarted

__all__ = [
    "OnExecutionComplete",
    "OnIncludeLaunchDescription",
    "OnProcessExit",
    "OnProcessIO",
    "OnProcessStart",
    "OnShutdown",
    "event_named",
]


def event_named(name: str) -> Callable[[Event], bool]:
    """Return a matcher for events with this name, e.g. "launch.events.Shutdown"."""
    return lambda event: event.name == name


class _OnActionEvent(CallbackEventHandler):
    """Reacts to one kind of event, of one action, of the actions a function accepts, or of any action."""

    def __init__(self, event_class: Any, target: object, reaction: Any, handle_once: bool) -> None:
        if target is not None and not isinstance(target, Action) and not callable(target):
            raise TypeError(
                f"{type(self).__name__}: target_action must be an action, a function of an action, or None; "
                f"got {target!r}"
            )

        def matches(event: Any) -> bool:
            if not isinstance(event, event_class):
                return False
            if target is None or event.action is target:
                return True
            return not isinstance(target, Action) and callable(target) and bool(target(event.action))

        super().__init__(matcher=matches, reaction=reaction, handle_once=handle_once)


class OnProcessStart(_OnActionEvent):
    """Reacts to the start of a process; `on_start`: actions, or a function of (ProcessStarted, context)."""

    def __init__(self, *, target_action: Any = None, on_start: Any, handle_once: bool = False) -> None:
        super().__init__(ProcessStarted, target_action, on_start, handle_once)


class OnProcessExit(_OnActionEvent):
    """Reacts to the end of a process; `on_exit`: actions, or a function of (ProcessExited, context)."""

    def __init__(self, *, target_action: Any = None, on_exit: Any, handle_once: bool = False) -> None:
        super().__init__(ProcessExited, target_action, on_exit, handle_once)


class OnExecutionComplete(_OnActionEvent):
    """Reacts to an action having done its work; `on_completion`: actions, or a function of (event, context)."""

    def __init__(self, *, target_action: Any = None, on_completion: Any, handle_once: bool = False) -> None:
        super().__init__(ExecutionComplete, target_action, on_completion, handle_once)


class OnProcessIO(_OnActionEvent):
    """Reacts to output of a process; `on_stdout` and `on_stderr` are functions of the ProcessIO event."""

    def __init__(
        self,
        *,
        target_action: Any = None,
        on_stdin: Callable[[ProcessIO], Any] | None = None,
        on_stdout: Callable[[ProcessIO], Any] | None = None,
        on_stderr: Callable[[ProcessIO], Any] | None = None,
        handle_once: bool = False,
    ) -> None:
        if on_stdin is not None:
            raise NotImplementedError("OnProcessIO(on_stdin=...) is not covered by rclpy_dds: processes get no stdin")

        def react(event: Any, context: Any) -> Any:
            function = on_stdout if event.from_stdout else on_stderr
            return function(event) if function is not None else None

        super().__init__(ProcessIO, target_action, react, handle_once)


class OnShutdown(CallbackEventHandler):
    """Reacts to the end of the launch; `on_shutdown`: actions, or a function of (Shutdown, context)."""

    def __init__(self, *, on_shutdown: Any, handle_once: bool = False) -> None:
        super().__init__(
            matcher=lambda event: isinstance(event, Shutdown), reaction=on_shutdown, handle_once=handle_once
        )


class OnIncludeLaunchDescription(CallbackEventHandler):
    """Visits the launch description of an IncludeLaunchDescription event; every launch has this handler."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            matcher=lambda event: isinstance(event, IncludeLaunchDescription),
            reaction=lambda event, context: event.launch_description,
            **kwargs,
        )
