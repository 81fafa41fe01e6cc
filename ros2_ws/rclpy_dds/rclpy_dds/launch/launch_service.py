"""The loop that visits a launch description, watches its processes and ends them."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterable
from typing import Any

from . import logging as launch_logging
from .actions.execute_process import HURRY_TIMEOUT_S, ExecuteProcess
from .child_process import reap_orphans, set_child_subreaper, stray_descendants
from .event import Event
from .event_handlers import OnIncludeLaunchDescription
from .events import Shutdown
from .events.process import ProcessExited, ShutdownProcess, SignalProcess
from .launch_context import LaunchContext
from .launch_description import LaunchDescription
from .launch_description_entity import LaunchDescriptionEntity
from .utilities import normalize_to_list_of_entities

_ENDING_SIGNALS = {
    signal.SIGINT: "ctrl-c (SIGINT)",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "a closed terminal (SIGHUP)",
    signal.SIGQUIT: "ctrl-\\ (SIGQUIT)",
}
# One Ctrl-C may arrive twice: from the terminal, and forwarded by a script or by timeout(1) around the command.
_SAME_INTERRUPT_S = 0.5
# Configurations that launch itself reads, so that they may be given without being declared.
BUILT_IN_CONFIGURATIONS = frozenset(
    {"sigterm_timeout", "sigkill_timeout", "emulate_tty", "launch-prefix", "launch-prefix-filter"}
)


class UnknownLaunchArgumentError(Exception):
    """An argument was given that nothing in the launch description declares or reads."""


class LaunchService:
    """Runs launch descriptions.

    argv: launch arguments as `name:=value`; noninteractive: there is no terminal; debug: log tracebacks.
    """

    def __init__(self, *, argv: list[str] | None = None, noninteractive: bool = False, debug: bool = False) -> None:
        self._context = LaunchContext(argv=argv, noninteractive=noninteractive)
        self._context.register_event_handler(OnIncludeLaunchDescription())
        self._debug = debug
        self._descriptions: list[LaunchDescription] = []
        self._logger = launch_logging.get_logger("launch")
        self._given: set[str] = set()
        self._return_code = 0
        self._interrupted_at_s = -math.inf

    @property
    def context(self) -> LaunchContext:
        """The launch context."""
        return self._context

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop | None:
        """The running event loop, None while not running."""
        return self._context.asyncio_loop

    def include_launch_description(self, launch_description: LaunchDescription) -> None:
        """Add a launch description to those that run() visits."""
        self._descriptions.append(launch_description)
        if self._context.asyncio_loop is not None:
            self._call_in_loop(self._visit_descriptions)

    def require_known_arguments(self, names: Iterable[str]) -> None:
        """Make it an error, before any process starts, if one of these configurations is neither declared nor read."""
        self._given = set(names)

    def emit_event(self, event: Event) -> None:
        """Emit an event, from any thread."""
        self._call_in_loop(lambda: self._context.emit_event_sync(event))

    def shutdown(self, force_sync: bool = False) -> None:
        """End the launch, from any thread. Does nothing when it is not running."""
        if self._context.asyncio_loop is not None:
            self._call_in_loop(lambda: self._begin_shutdown("LaunchService.shutdown() called", False))

    def run(self, *, shutdown_when_idle: bool = True) -> int:
        """Run to the end and return the exit status: 0, or 1 when launching itself failed."""
        return asyncio.run(self.run_async(shutdown_when_idle=shutdown_when_idle))

    async def run_async(self, *, shutdown_when_idle: bool = True) -> int:
        """As run(), within a running event loop of the main thread."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("LaunchService can only be run in the main thread.")
        context = self._context
        loop = asyncio.get_running_loop()
        context._loop = loop
        context._wake = asyncio.Event()
        previous_handlers = {number: signal.getsignal(number) for number in _ENDING_SIGNALS}
        for number in _ENDING_SIGNALS:
            # nohup and background jobs of scripts ignore signals on purpose.
            if previous_handlers[number] is not signal.SIG_IGN or number is signal.SIGINT:
                loop.add_signal_handler(number, self._on_signal, number)
        set_child_subreaper(True)
        launch_logging.launch_config.level = 10 if self._debug else 20
        self._logger.info("All log files can be found below %s", launch_logging.launch_config.log_dir)
        self._logger.info("Default logging verbosity is set to %s", "DEBUG" if self._debug else "INFO")
        try:
            self._guarded(self._visit_descriptions)
            await self._loop_until_done(shutdown_when_idle)
        finally:
            await self._end_strays()
            for process in context.processes:
                process.close_output()
            set_child_subreaper(False)
            for number, handler in previous_handlers.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
            for path in context.temporary_files:
                if os.path.exists(path):
                    os.unlink(path)
            context._loop = None
            context._wake = None
            launch_logging.launch_config.close()
        return self._return_code

    async def _loop_until_done(self, shutdown_when_idle: bool) -> None:
        context = self._context
        wake = context._wake
        while wake is not None:
            wake.clear()
            while context._event_queue:
                event = context._event_queue.popleft()
                self._guarded(lambda event=event: self._process_event(event))
            if context.exception is not None:
                error, context.exception = context.exception, None
                self._fail(error)
            if context._event_queue:
                continue
            if not context._tasks:
                if context.is_shutdown:
                    return
                if shutdown_when_idle:
                    self._begin_shutdown("idle", False)
                    continue
            await wake.wait()

    def _visit_descriptions(self) -> None:
        descriptions, self._descriptions = self._descriptions, []
        for description in descriptions:
            self._visit(description)
            # Tasks have not run yet, so nothing has started when an argument turns out to be a typing error.
            declared = {argument.name for argument in description.get_launch_arguments()}
            unknown = self._given - declared - self._context.used_configurations - BUILT_IN_CONFIGURATIONS
            self._given = set()
            if unknown:
                known = sorted(declared | (self._context.used_configurations - BUILT_IN_CONFIGURATIONS))
                raise UnknownLaunchArgumentError(
                    f"unknown launch argument{'s' if len(unknown) > 1 else ''} "
                    f"{', '.join(repr(name) for name in sorted(unknown))}; this launch file knows: "
                    f"{', '.join(known) if known else 'no arguments'}"
                )

    def _visit(self, entity: LaunchDescriptionEntity) -> None:
        """Visit an entity and, depth first, all that it returns."""
        for sub_entity in normalize_to_list_of_entities(entity.visit(self._context)):
            self._visit(sub_entity)

    def _process_event(self, event: Event) -> None:
        context = self._context
        if isinstance(event, Shutdown):
            self._end_processes()
        elif isinstance(event, ShutdownProcess):
            for process in self._matching(event):
                process.request_stop()
        elif isinstance(event, SignalProcess):
            for process in self._matching(event):
                process.send_signal(event.signal)
        reactions: list[Any] = []
        if isinstance(event, ProcessExited):
            reactions.append(event.action.on_event)
        handlers = [handler for handler in tuple(context._event_handlers) if handler.matches(event)]
        for react in [*reactions, *(handler.handle for handler in handlers)]:
            context.push_locals()
            context.extend_locals({"event": event})
            try:
                for entity in normalize_to_list_of_entities(react(event, context)):
                    self._visit(entity)
            finally:
                context.pop_locals()

    def _matching(self, event: Any) -> list[ExecuteProcess]:
        return [process for process in self._context.processes if event.process_matcher(process)]

    def _end_processes(self) -> None:
        self._context._is_shutdown = True
        for process in self._context.processes:
            process.request_stop()

    def _begin_shutdown(self, reason: str, due_to_sigint: bool) -> None:
        if not self._context.is_shutdown:
            # At once rather than when the event is handled: what is visited until then must not start processes.
            self._context._is_shutdown = True
            self._context.emit_event_sync(Shutdown(reason=reason, due_to_sigint=due_to_sigint))

    def _on_signal(self, number: signal.Signals) -> None:
        cause = _ENDING_SIGNALS[number]
        if self._context.is_shutdown:
            if time.monotonic() - self._interrupted_at_s < _SAME_INTERRUPT_S:
                return
            self._logger.warning("user interrupted with %s again, ending the rest quickly", cause)
            self._context.hurry.set()
            return
        self._interrupted_at_s = time.monotonic()
        self._logger.warning("user interrupted with %s", cause)
        self._begin_shutdown(cause, number is signal.SIGINT)

    async def _end_strays(self) -> None:
        """End what processes left behind in sessions of their own, gently at first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            strays = stray_descendants(os.getpid())
            if not strays:
                break
            self._logger.warning("sending signal '%s' to left-over processes %s", number.name, strays)
            for pid in strays:
                try:
                    os.kill(pid, number)
                except (ProcessLookupError, PermissionError):
                    continue
            deadline = time.monotonic() + HURRY_TIMEOUT_S
            while time.monotonic() < deadline and stray_descendants(os.getpid()):
                await asyncio.sleep(0.02)
        reap_orphans()

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._debug:
            self._logger.debug("%s", "".join(traceback.format_exception(type(error), error, error.__traceback__)))
        hint = "" if self._debug else " (see --debug for traceback)"
        self._logger.error("Caught exception in launch%s: %s", hint, error)
        self._return_code = 1
        self._begin_shutdown(f"Caught exception in launch: {error}", False)

    def _call_in_loop(self, work: Any) -> None:
        loop = self._context.asyncio_loop
        if loop is None:
            work()
        elif threading.current_thread() is threading.main_thread() and loop.is_running():
            self._guarded_and_awake(work)
        else:
            loop.call_soon_threadsafe(self._guarded_and_awake, work)

    def _guarded_and_awake(self, work: Any) -> None:
        self._guarded(work)
        self._context._wake_up()
