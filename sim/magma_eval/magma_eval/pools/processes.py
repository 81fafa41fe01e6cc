"""Workers as processes of this machine, with a watchdog: one that hangs is killed, and one that dies is told of."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from magma_eval.pools import wire
from magma_eval.pools.protocol import (
    Event,
    Failed,
    Finished,
    Lease,
    Lost,
    Ready,
    WorkerSetup,
    Working,
    lease_as_json,
    setup_as_json,
)

_ENDING_S = 5.0
_SLOW = ("making the environment", "resetting")
"""what takes as long as a start"""


class ProcessPool:
    """A `WorkerPool` of processes.

    Args:
        count: how many there will be at most; they share the cores.
        logs: folder for what simulators print.
        name: of the log files, before the worker's number.
        start_timeout_s: longest time to start, and to build or reset an environment.
        step_timeout_s: longest time for a step, the policy's answer included.
    """

    def __init__(self, count: int, logs: Path, name: str, *, start_timeout_s: float, step_timeout_s: float) -> None:
        self._count, self._logs, self._name = count, logs, name
        self._start_timeout_s, self._step_timeout_s = start_timeout_s, step_timeout_s
        self._processes: dict[int, _Process] = {}
        self._selector = selectors.DefaultSelector()

    @property
    def workers(self) -> Mapping[int, str]:
        return {number: process.doing for number, process in self._processes.items()}

    def start(self, worker: int, setup: WorkerSetup) -> None:
        # Threads beyond the cores only wait for each other. Mesa's software renderer gets each worker's share of them.
        share = max(1, len(os.sched_getaffinity(0)) // self._count)
        process = _Process(worker, self._logs / f"{self._name}-{worker}.log", {"LP_NUM_THREADS": str(share)})
        process.expect("starting", self._start_timeout_s)
        process.say("setup", **setup_as_json(setup))
        self._processes[worker] = process
        self._selector.register(process.read, selectors.EVENT_READ, process)

    def lease(self, worker: int, lease: Lease) -> None:
        process = self._processes[worker]
        process.expect("beginning", self._start_timeout_s)
        process.say("episode", **lease_as_json(lease))

    def drop(self, worker: int) -> None:
        process = self._processes.pop(worker, None)
        if process is not None:
            self._selector.unregister(process.read)
            process.kill()

    def events(self, timeout_s: float) -> list[Event]:
        found: list[Event] = []
        for key, _ in self._selector.select(timeout_s):
            found += self._heard(key.data)
        now = time.monotonic()
        for process in list(self._processes.values()):
            if process.deadline_s is not None and now > process.deadline_s:
                found.append(self._lost(process, f"the simulator hung while {process.doing}; it was killed"))
        return found

    def close(self, patience_s: float) -> None:
        for process in self._processes.values():
            process.say("stop")
        until = time.monotonic() + patience_s
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            process.kill()
        self._processes.clear()
        self._selector.close()

    def _heard(self, process: _Process) -> Iterator[Event]:
        """What a process says, up to its end."""
        try:
            messages = process.messages()
        except wire.BrokenWireError as error:
            yield self._lost(process, f"worker spoke nonsense: {error}")
            return
        for message in messages:
            kind = message.pop("kind")
            if kind == "alive":
                slow = message["doing"] in _SLOW
                process.expect(message["doing"], self._start_timeout_s if slow else self._step_timeout_s)
                yield Working(process.number, message["doing"])
                continue
            process.expect_nothing()
            if kind == "ready":
                process.started = True
                yield Ready(process.number, message["facts"])
            elif kind == "result":
                yield Finished(process.number, message)
            elif kind == "failed":
                yield Failed(process.number, message["cause"], message["message"])
        if process.ended:
            why, outside = process.how_it_ended()
            yield self._lost(process, why, outside)

    def _lost(self, process: _Process, why: str, outside: bool = False) -> Lost:
        self.drop(process.number)
        return Lost(process.number, why, process.started, outside)


class _Process:
    """One worker process."""

    def __init__(self, number: int, log: Path, variables: Mapping[str, str]) -> None:
        self.number, self._log = number, log
        from_pool, self._write = os.pipe()
        self.read, to_pool = os.pipe()
        for descriptor in (self._write, self.read):
            os.set_inheritable(descriptor, False)
        command = [sys.executable, "-m", "magma_eval.pools.worker_process"]
        command += [str(from_pool), str(to_pool), str(os.getpid())]
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=(from_pool, to_pool),
                env={"OMP_NUM_THREADS": "1", **variables, **os.environ},
            )
        os.close(from_pool)
        os.close(to_pool)
        self._reader = wire.LineReader(self.read)
        self.started = False
        self.doing = ""
        self.deadline_s: float | None = None

    @property
    def ended(self) -> bool:
        return self._reader.ended

    def messages(self) -> list[wire.Message]:
        return self._reader.read()

    def expect(self, doing: str, timeout_s: float) -> None:
        """It does something now, and must be heard of again within this time."""
        self.doing, self.deadline_s = doing, time.monotonic() + timeout_s

    def expect_nothing(self) -> None:
        """It waits for a lease."""
        self.deadline_s = None

    def say(self, kind: str, **content: Any) -> None:
        # A worker that is gone shows itself by the end of its pipe.
        with contextlib.suppress(BrokenPipeError):
            wire.send(self._write, kind, **content)

    def wait(self, timeout_s: float) -> int:
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """Ends the process at once and releases what belongs to it."""
        self._process.kill()
        # A process caught inside a graphics driver dies when the driver lets go of it; nobody waits for that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_S)
        for descriptor in (self._write, self.read):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def how_it_ended(self) -> tuple[str, bool]:
        """In words, with the end of its log; and whether somebody else ended it: no simulator ends by SIGKILL."""
        try:
            status = self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        words = ""
        with contextlib.suppress(OSError):
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            words = " | ".join(lines[-3:])[-600:]
        return f"the simulator's process ended {how} while {self.doing}: {words}", status == -signal.SIGKILL
