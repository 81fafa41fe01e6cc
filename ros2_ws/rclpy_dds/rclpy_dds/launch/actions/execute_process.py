"""The action that runs a process, restarts it if told to, and ends it in order."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .. import logging as launch_logging
from ..action import Action
from ..child_process import ChildProcess
from ..event import Event
from ..events.process import ProcessExited, ProcessIO, ProcessStarted, ProcessStderr, ProcessStdout
from ..launch_description_entity import LaunchDescriptionEntity
from ..some_substitutions_type import SomeSubstitutionsType
from ..utilities import (
    describe_substitutions,
    normalize_to_list_of_entities,
    normalize_to_list_of_substitutions,
    resolve,
    typed_value,
)

if TYPE_CHECKING:
    from ..launch_context import LaunchContext

# Two steps of ROS 2's own default (5 s each) would outlast the patience of a person at an emergency; these leave a
# graph gone within 5 s of Ctrl-C.
DEFAULT_SIGTERM_TIMEOUT_S = 2.8
DEFAULT_SIGKILL_TIMEOUT_S = 1.2
HURRY_TIMEOUT_S = 0.3
# How long a process that was killed may take to vanish before launch stops waiting for it (it may hang in a driver).
KILLED_TIMEOUT_S = 1.0

_OUTPUTS: dict[str, dict[str, set[str]]] = {
    "screen": {"stdout": {"screen"}, "stderr": {"screen"}},
    "log": {"stdout": {"log"}, "stderr": {"screen", "log"}},
    "both": {"both": {"screen", "log"}},
    "own_log": {"both": {"own_log"}, "stdout": {"own_log"}, "stderr": {"own_log"}},
    "full": {"both": {"screen", "log", "own_log"}, "stdout": {"own_log"}, "stderr": {"own_log"}},
}


class ExecuteProcess(Action):
    """Runs a command. See the `launch` package of ROS 2 for the arguments; those that are taken mean the same.

    cmd: list of texts; name: label of the output, by default the executable's file name; output: "screen", "log"
    (stdout to the log file only), "both", "own_log", "full" or a dict; only what goes to "log" is in launch.log.
    respawn_delay: seconds; sigterm_timeout, sigkill_timeout: seconds until the next harder signal while ending.
    """

    def __init__(
        self,
        *,
        cmd: Iterable[SomeSubstitutionsType],
        prefix: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        cwd: SomeSubstitutionsType | None = None,
        env: Mapping[Any, SomeSubstitutionsType] | None = None,
        additional_env: Mapping[Any, SomeSubstitutionsType] | None = None,
        shell: bool = False,
        sigterm_timeout: SomeSubstitutionsType | float | None = None,
        sigkill_timeout: SomeSubstitutionsType | float | None = None,
        emulate_tty: bool = False,
        output: SomeSubstitutionsType | dict[str, Any] = "log",
        output_format: str = "[{this.process_name}] {line}",
        cached_output: bool = False,
        log_cmd: bool = False,
        on_exit: Any = None,
        respawn: bool | SomeSubstitutionsType = False,
        respawn_delay: float | None = None,
        respawn_max_retries: int = -1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(cmd, str):
            raise TypeError(f"{type(self).__name__}: cmd must be a list such as ['echo', 'hello'], got the str {cmd!r}")
        self.cmd = [normalize_to_list_of_substitutions(part) for part in cmd]
        self._prefix = prefix
        self._name = name
        self._cwd = cwd
        self._env = env
        self._additional_env = additional_env
        self._shell = shell
        self._sigterm_timeout = sigterm_timeout
        self._sigkill_timeout = sigkill_timeout
        self._emulate_tty = emulate_tty
        self._output = os.environ.get("OVERRIDE_LAUNCH_PROCESS_OUTPUT") or output
        self._output_format = output_format
        self._cached = {1: "", 2: ""} if cached_output else None
        self._log_cmd = log_cmd
        self._on_exit = on_exit
        self._respawn = respawn
        self._respawn_delay = respawn_delay
        self._respawn_max_retries = respawn_max_retries
        self._child: ChildProcess | None = None
        self._details: dict[str, Any] | None = None
        self._stop = asyncio.Event()
        self._return_code: int | None = None
        self._executed = False
        self._number = 0

    # What launch files and event handlers ask for

    @property
    def process_name(self) -> str:
        """Unique name of the process, e.g. "talker-1"; only once it is executed."""
        if self._details is None:
            raise RuntimeError("the process has no name before it is executed")
        return self._details["name"]

    @property
    def name(self) -> str | None:
        """The unique name once executed, None before."""
        return None if self._details is None else self._details["name"]

    @property
    def shell(self) -> bool:
        """Whether the command runs through a shell."""
        return self._shell

    @property
    def process_details(self) -> dict[str, Any] | None:
        """name, cmd, cwd, env and pid of the process (pid 0 before it has started); None before it is executed."""
        return self._details

    @property
    def return_code(self) -> int | None:
        """Exit status of the last run, None while it runs."""
        return self._return_code

    def get_stdout(self) -> str:
        """Return what was written to stdout so far; needs `cached_output`."""
        return self._get_cached(1)

    def get_stderr(self) -> str:
        """Return what was written to stderr so far; needs `cached_output`."""
        return self._get_cached(2)

    def _get_cached(self, stream: int) -> str:
        if self._cached is None:
            raise RuntimeError("give cached_output=True to be able to read the output of the process")
        return self._cached[stream]

    def describe(self) -> str:
        command = ", ".join(describe_substitutions(part) for part in self.cmd)
        return f"{type(self).__name__}(cmd=[{command}], shell={self._shell})"

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return [] if callable(self._on_exit) else normalize_to_list_of_entities(self._on_exit)

    # Execution

    def command(self, context: LaunchContext) -> list[str]:
        """Return the command line with everything substituted."""
        return self.with_prefix(context, [resolve(context, part) for part in self.cmd])

    def default_label(self, context: LaunchContext) -> str:
        """Return the label of the output when no name is given: the file name of the executable."""
        return os.path.basename(resolve(context, self.cmd[0]).split()[0])

    def with_prefix(self, context: LaunchContext, command: list[str]) -> list[str]:
        """Return the command behind `prefix`, or behind the launch-prefix of the command line if it applies."""
        if self._prefix is not None:
            return [*shlex.split(resolve(context, self._prefix)), *command]
        prefix = context.launch_configurations.get("launch-prefix")
        only = context.launch_configurations.get("launch-prefix-filter")
        if prefix is None or (only is not None and not re.match(only, os.path.basename(command[0]))):
            return command
        return [*shlex.split(prefix), *command]

    def _environment(self, context: LaunchContext) -> dict[str, str]:
        base: Mapping[Any, Any] = context.environment if self._env is None else self._env
        env = {resolve(context, name): resolve(context, value) for name, value in base.items()}
        # Otherwise a Python child's print() arrives in blocks of kilobytes, minutes late.
        env.setdefault("PYTHONUNBUFFERED", "1")
        for name, value in (self._additional_env or {}).items():
            env[resolve(context, name)] = resolve(context, value)
        return env

    def _timeout(self, context: LaunchContext, name: str, given: Any, default: float) -> float:
        value = given if given is not None else context.launch_configurations.get(name, default)
        try:
            seconds = typed_value(context, value, float)
        except ValueError:
            raise ValueError(
                f"{name} of process[{self.process_name}] must be a number of seconds, got {value!r}"
            ) from None
        return max(0.0, seconds)

    def execute(self, context: LaunchContext) -> None:
        if self._executed:
            raise RuntimeError(f"{self.describe()} is executed twice; make one action per process")
        self._executed = True
        if context.is_shutdown:
            return
        command = self.command(context)
        label = self.default_label(context) if self._name is None else resolve(context, self._name)
        self._number = number = len(context.processes) + 1
        self._details = {
            "name": f"{label}-{number}",
            "cmd": command,
            "cwd": None if self._cwd is None else resolve(context, self._cwd),
            "env": self._environment(context),
            "pid": 0,
        }
        self._logger = launch_logging.get_logger(self.process_name)
        self._sinks = _sinks(context, self._output)
        self._grace_s = (
            self._timeout(context, "sigterm_timeout", self._sigterm_timeout, DEFAULT_SIGTERM_TIMEOUT_S),
            self._timeout(context, "sigkill_timeout", self._sigkill_timeout, DEFAULT_SIGKILL_TIMEOUT_S),
        )
        self._use_tty = typed_value(context, context.launch_configurations.get("emulate_tty", self._emulate_tty), bool)
        self._may_respawn = typed_value(context, self._respawn, bool)
        context.processes.append(self)
        self._task = context.add_task(self._supervise(context))

    def on_event(self, event: Event, context: LaunchContext) -> Any:
        """Return the entities of `on_exit` for this process's exit event."""
        return self._on_exit(event, context) if callable(self._on_exit) else self._on_exit

    def request_stop(self) -> None:
        """Begin to end the process: SIGINT, then SIGTERM, then SIGKILL. It is not restarted."""
        self._stop.set()

    def send_signal(self, signal_number: signal.Signals) -> None:
        """Send a signal to the process and what it started; none is sent when it does not run."""
        if self._child is not None and self._child.has_members():
            self._logger.info("sending signal '%s' to process[%s]", signal_number.name, self.process_name)
            self._child.send_signal(signal_number)

    async def _supervise(self, context: LaunchContext) -> None:
        retries = 0
        # An error after this action was visited ends the launch before anything starts.
        while not context.is_shutdown:
            started = await self._run_once(context)
            again = (
                started
                and self._may_respawn
                and not self._stop.is_set()
                and not context.is_shutdown
                and (self._respawn_max_retries < 0 or retries < self._respawn_max_retries)
            )
            if not again:
                return
            retries += 1
            if self._respawn_delay and await _happens(self._stop, self._respawn_delay):
                return

    async def _run_once(self, context: LaunchContext) -> bool:
        """Run the process to its end; return False when it could not be started at all."""
        details = self._details
        if details is None:
            raise RuntimeError("_run_once needs execute() to have prepared the process")
        if self._log_cmd:
            self._logger.info("process details: cmd='%s', cwd='%s'", shlex.join(details["cmd"]), details["cwd"])
        self._return_code = None
        try:
            child = await ChildProcess.start(
                details["cmd"],
                shell=self._shell,
                cwd=details["cwd"],
                env=details["env"],
                emulate_tty=self._use_tty,
                on_line=self._write_line,
                on_bytes=lambda stream, data: self._emit_output(context, stream, data),
            )
        except OSError as error:
            self._logger.error("process could not be started: %s: cmd '%s'", error, shlex.join(details["cmd"]))
            self._return_code = 127
            context.emit_event_sync(ProcessExited(returncode=127, action=self, **details))
            return False
        self._child = child
        details["pid"] = child.pid
        self._logger.info("process started with pid [%d]", child.pid)
        context.emit_event_sync(ProcessStarted(action=self, **details))

        stopping = asyncio.ensure_future(self._stop.wait())
        either: list[asyncio.Future[Any]] = [child.exit_status, stopping]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        gone = True
        if not child.exit_status.done():
            gone = await self._end(context, child)
        elif self._may_respawn and child.has_members():
            # What a dead parent left behind would meet its successor.
            child.send_signal(signal.SIGKILL)
        code = await child.wait(timeout=None if gone else 0.0)
        if code is None:
            self._logger.error("process did not vanish after SIGKILL; giving up on pid %d", child.pid)
            code = -signal.SIGKILL
        elif code == 0:
            self._logger.info("process has finished cleanly [pid %d]", child.pid)
        else:
            self._logger.error(
                "process has died [pid %d, exit code %d, cmd '%s'].", child.pid, code, " ".join(details["cmd"])
            )
        self._return_code = code
        context.emit_event_sync(ProcessExited(returncode=code, action=self, **details))
        return True

    async def _end(self, context: LaunchContext, child: ChildProcess) -> bool:
        """Send SIGINT, SIGTERM and SIGKILL in turn until nothing of the process's session is left; return whether."""
        steps = (
            (signal.SIGINT, self._grace_s[0]),
            (signal.SIGTERM, self._grace_s[1]),
            (signal.SIGKILL, KILLED_TIMEOUT_S),
        )
        previous: tuple[signal.Signals, float] | None = None
        for step, grace_s in steps:
            if previous is not None:
                self._logger.error(
                    "process[%s] failed to terminate '%.1f' seconds after receiving '%s', escalating to '%s'",
                    self.process_name,
                    previous[1],
                    previous[0].name,
                    step.name,
                )
            self.send_signal(step)
            begin = time.monotonic()
            while child.has_members():
                waited_s = time.monotonic() - begin
                if waited_s >= (min(grace_s, HURRY_TIMEOUT_S) if context.hurry.is_set() else grace_s):
                    break
                await asyncio.sleep(0.02)
            else:
                return True
            previous = (step, time.monotonic() - begin)
        return False

    # Output

    def close_output(self) -> None:
        """Stop reading what descendants of an ended process may still write."""
        if self._child is not None:
            self._child.close()

    def _emit_output(self, context: LaunchContext, stream: int, data: bytes) -> None:
        if self._details is None:
            return
        if self._cached is not None:
            self._cached[stream] += data.decode(errors="replace")
        event_class: type[ProcessIO] = ProcessStdout if stream == 1 else ProcessStderr
        event = event_class(text=data, fd=stream, action=self, **self._details)
        if context.would_handle_event(event):
            context.emit_event_sync(event)

    def _write_line(self, stream: int, line: str) -> None:
        text = self._output_format.format(line=line, this=self)
        which = "stdout" if stream == 1 else "stderr"
        if "log" in self._sinks[which] | self._sinks["both"]:
            launch_logging.launch_config.write("launch.log", text)
        if "screen" in self._sinks[which] | self._sinks["both"]:
            launch_logging.write_screen(text, process=(self.process_name, self._number))
        if "own_log" in self._sinks[which]:
            launch_logging.launch_config.write(f"{self.process_name}-{which}.log", line)
        if "own_log" in self._sinks["both"]:
            launch_logging.launch_config.write(f"{self.process_name}.log", line)


# In ROS 2 the local variant is the general one; launch files use either name.
ExecuteLocal = ExecuteProcess


def _sinks(context: LaunchContext, output: Any) -> dict[str, set[str]]:
    """Return, for stdout, stderr and both together, where lines go: screen, log, own_log."""
    if isinstance(output, dict):
        unknown = set(output) - {"stdout", "stderr", "both"}
        if unknown:
            raise ValueError(f"output has unknown keys {sorted(unknown)}; known are stdout, stderr and both")
        given = {
            key: {value} if isinstance(value, str) else {str(item) for item in value} for key, value in output.items()
        }
    else:
        name = resolve(context, output)
        if name not in _OUTPUTS:
            raise ValueError(f"output '{name}' is unknown; known are {', '.join(_OUTPUTS)}, or a dict")
        given = _OUTPUTS[name]
    unknown = set().union(*given.values()) - {"screen", "log", "own_log"}
    if unknown:
        raise ValueError(f"output goes to unknown places {sorted(unknown)}; known are screen, log and own_log")
    return {key: set(given.get(key, ())) for key in ("stdout", "stderr", "both")}


async def _happens(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for the event for at most `timeout_s` and return whether it came."""
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except asyncio.TimeoutError:
        return False
    return True
