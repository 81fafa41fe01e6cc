"""What the tests share: a ROS domain of their own, nodes in it, and Python processes that take part in it."""

from __future__ import annotations

import itertools
import os
import queue
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "interop"))

from interop_domains import DOMAINS, is_free

from rclpy_dds.cli.main import main

PATIENCE_S = 60.0
"""How long a test waits for what must come; only a failing test waits that long."""

_counter = itertools.count()


# Processes that were killed are in the graph for another 10 s. So a process takes this many domains before it begins
# again with the first one; not all, because other test runs need some.
_DOMAINS_OF_A_PROCESS = 40
_taken: list[int] = []


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """A domain id that nobody else uses, also set as ``ROS_DOMAIN_ID``; the ports lie below Linux' ephemeral range."""
    monkeypatch.delenv("CYCLONEDDS_URI", raising=False)
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)
    candidates = list(DOMAINS)
    random.Random(f"{os.getpid()} {next(_counter)} {time.time_ns()}").shuffle(candidates)
    free = (candidate for candidate in candidates if candidate not in _taken and is_free(candidate))
    chosen = next(free, None) if len(_taken) < _DOMAINS_OF_A_PROCESS else None
    if chosen is None:
        if not _taken:
            pytest.fail("every domain from 10 to 100 is in use on this machine")
        chosen = _taken.pop(0)
    _taken.append(chosen)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(chosen))
    return chosen


@pytest.fixture
def context(domain: int) -> Iterator[Any]:
    """An initialised context in a domain of its own."""
    from rclpy.context import Context

    context = Context()
    context.init([], domain_id=domain)
    yield context
    context.try_shutdown()


@pytest.fixture
def executor(context: Any) -> Iterator[Any]:
    """A single-threaded executor of the test's context."""
    from rclpy.executors import SingleThreadedExecutor

    executor = SingleThreadedExecutor(context=context)
    yield executor
    executor.shutdown()


@pytest.fixture
def make_node(context: Any, executor: Any) -> Callable[..., Any]:
    """Make nodes of the test's context, in its executor."""
    from rclpy.node import Node

    def make(name: str, **options: Any) -> Any:
        node = Node(name, context=context, **options)
        executor.add_node(node)
        return node

    return make


@pytest.fixture
def spin_until(executor: Any) -> Callable[..., None]:
    """Spin the executor until a condition holds."""

    def run(condition: Callable[[], Any], what: str = "the condition", patience_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {patience_s:g} s in vain for {what}")
            executor.spin_once(timeout_sec=0.05)

    return run


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Wait until a condition holds."""

    def run(condition: Callable[[], Any], what: str = "the condition", patience_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {patience_s:g} s in vain for {what}")
            time.sleep(0.01)

    return run


class Peer:
    """Another Python process; its output can be waited for line by line."""

    def __init__(self, code: str, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", textwrap.dedent(code), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        self.output: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, start: str, patience_s: float = PATIENCE_S) -> str:
        """Return the rest of the next line that begins with ``start``."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                line = self._lines.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                pytest.fail(f"no line {start!r} within {patience_s:g} s, only:\n" + "\n".join(self.output))
            if line is None:
                pytest.fail(f"the process ended without a line {start!r}:\n" + "\n".join(self.output))
            self.output.append(line)
            if line.startswith(start):
                return line[len(start) :].strip()

    def tell(self, line: str) -> None:
        """Write a line to the process."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, patience_s: float = PATIENCE_S) -> int:
        """Wait for the end; return the exit status."""
        status = self.process.wait(patience_s)
        self._thread.join(5.0)
        while not self._lines.empty():
            line = self._lines.get()
            if line is not None:
                self.output.append(line)
        return status

    def close(self) -> None:
        """End the process if it is still there."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._thread.join(5.0)
        for stream in (self.process.stdout, self.process.stdin):
            if stream is not None:
                stream.close()


@pytest.fixture
def start_peer() -> Iterator[Callable[..., Peer]]:
    """Start Python processes with a code text; they are ended after the test."""
    peers: list[Peer] = []

    def start(code: str, *arguments: str, **environment: str) -> Peer:
        peers.append(Peer(code, arguments, environment))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


@pytest.fixture
def ros2(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a ros2 command line in this process and returns (exit status, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
