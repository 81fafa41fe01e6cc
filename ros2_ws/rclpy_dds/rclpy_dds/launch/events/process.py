"""Events about the processes that launch runs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..event import Event

if TYPE_CHECKING:
    from ..actions import ExecuteProcess


class RunningProcessEvent(Event):
    """Something about one process.

    action: the ExecuteProcess; process_name: its unique name such as "talker-1"; cmd: list of str; cwd: str or None;
    env: dict or None; pid: int.
    """

    name = "launch.events.process.RunningProcessEvent"

    def __init__(
        self,
        *,
        action: ExecuteProcess,
        name: str,
        cmd: list[str],
        cwd: str | None,
        env: dict[str, str] | None,
        pid: int,
    ) -> None:
        self.action = action
        self.process_name = name
        self.cmd = cmd
        self.cwd = cwd
        self.env = env
        self.pid = pid

    @property
    def execute_process_action(self) -> ExecuteProcess:
        """The action that runs the process."""
        return self.action


class ProcessStarted(RunningProcessEvent):
    """A process was started."""

    name = "launch.events.process.ProcessStarted"


class ProcessExited(RunningProcessEvent):
    """A process ended; returncode is negative for a signal, as in subprocess."""

    name = "launch.events.process.ProcessExited"

    def __init__(self, *, returncode: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.returncode = returncode


class ProcessIO(RunningProcessEvent):
    """Bytes that a process wrote; fd is 1 for stdout, 2 for stderr."""

    name = "launch.events.process.ProcessIO"

    def __init__(self, *, text: bytes, fd: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text
        self.fd = fd

    @property
    def from_stdout(self) -> bool:
        """Whether the process wrote this to stdout."""
        return self.fd == 1

    @property
    def from_stderr(self) -> bool:
        """Whether the process wrote this to stderr."""
        return self.fd == 2


class ProcessStdout(ProcessIO):
    """Bytes that a process wrote to stdout."""

    name = "launch.events.process.ProcessStdout"


class ProcessStderr(ProcessIO):
    """Bytes that a process wrote to stderr."""

    name = "launch.events.process.ProcessStderr"


class ProcessTargetedEvent(Event):
    """An order to the processes whose action the matcher accepts."""

    name = "launch.events.process.ProcessTargetedEvent"

    def __init__(self, *, process_matcher: Callable[[ExecuteProcess], bool]) -> None:
        self.process_matcher = process_matcher


class ShutdownProcess(ProcessTargetedEvent):
    """Ends the matching processes: SIGINT, then SIGTERM, then SIGKILL."""

    name = "launch.events.process.ShutdownProcess"


class SignalProcess(ProcessTargetedEvent):
    """Sends a signal to the matching processes. `signal_number` is a number, a signal.Signals or a name "SIGUSR1"."""

    name = "launch.events.process.SignalProcess"

    def __init__(
        self, *, signal_number: str | int | signal.Signals, process_matcher: Callable[[ExecuteProcess], bool]
    ) -> None:
        super().__init__(process_matcher=process_matcher)
        self.signal = (
            signal.Signals[signal_number] if isinstance(signal_number, str) else signal.Signals(int(signal_number))
        )
        self.signal_name = self.signal.name


def matches_name(name: str) -> Callable[[ExecuteProcess], bool]:
    """Return a matcher for the process called `name`."""
    return lambda action: action.process_details is not None and action.process_details["name"] == name


def matches_pid(pid: int) -> Callable[[ExecuteProcess], bool]:
    """Return a matcher for the process with this id."""
    return lambda action: action.process_details is not None and action.process_details["pid"] == pid


def matches_executable(executable: str) -> Callable[[ExecuteProcess], bool]:
    """Return a matcher for processes whose command starts with `executable`."""
    return lambda action: action.process_details is not None and action.process_details["cmd"][0] == executable
