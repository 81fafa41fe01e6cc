"""What the graph tests share: a ROS domain of their own, real node processes, and a peer node to talk to them.

def test_something(start_node, peer):
    node = start_node("magma_control.controller_node", {"watchdog_s": 0.3})
    states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
    states.wait_for(lambda message: message.phase == ControllerState.HOLD)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

DOMAINS = range(10, 100)
"""Ids whose ports lie below Linux' ephemeral range (ROS 2 allows up to 101 for that reason)."""
PATIENCE_S = float(os.environ.get("MAGMA_TEST_PATIENCE_S", "60"))
"""How long a test waits for something that must come; only a failing test waits that long. A machine that is busy with
something else may need more."""

MessageT = TypeVar("MessageT")
SentT = TypeVar("SentT")
AnswerT = TypeVar("AnswerT")

# pytest's importlib mode puts no test folder on the path; `controller_peers` is for several tests.
sys.path.insert(0, str(Path(__file__).parent))


def wait_until(condition: Callable[[], Any], what: str | Callable[[], str], timeout_s: float = PATIENCE_S) -> Any:
    """Waits until `condition()` is true and returns its value; fails the test naming `what` otherwise."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline_s:
            pytest.fail(f"waited {timeout_s:g} s in vain for {what() if callable(what) else what}")
        time.sleep(0.005)


@pytest.fixture
def wait() -> Callable[..., Any]:
    """`wait_until`, for tests: pytest's import mode does not let them import this file."""
    return wait_until


@contextlib.contextmanager
def free_domain() -> Iterator[int]:
    """A ROS domain that no other test on this machine uses while the block runs."""
    candidates = list(DOMAINS)
    random.shuffle(candidates)
    for domain in candidates:
        path = Path(tempfile.gettempdir()) / f"ros-test-domain-{domain}.lock"
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield domain
            return
    pytest.fail(f"all {len(candidates)} ROS domains for tests are taken")


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test on this machine uses while this one runs; set in the environment."""
    with free_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        yield domain


class NodeProcess:
    """A node running as a process of its own."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def output(self) -> str:
        """What it has written to stdout and stderr so far."""
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def send_signal(self, number: int) -> None:
        """Sends any signal, such as SIGSTOP, SIGCONT or SIGKILL."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Waits for its end and returns the exit status."""
        return self._process.wait(timeout_s)

    def wait_for_output(self, text: str, timeout_s: float = PATIENCE_S) -> None:
        """Waits until `text` was written."""
        wait_until(lambda: text in self.output, lambda: f"{text!r} in the output:\n{self.output}", timeout_s)

    def stop(self) -> int:
        """Interrupts it as Ctrl-C does, kills it if it does not end in 5 s, and returns the exit status."""
        if self.running:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()


StartNode = Callable[..., NodeProcess]


@pytest.fixture
def start_node(ros_domain: int, tmp_path: Path) -> Iterator[StartNode]:
    """Starts nodes in the test's domain; all of them are ended after the test.

    Called with the module that holds the node's `main`, its parameters by name, and further ROS arguments.
    """
    nodes: list[tuple[str, NodeProcess]] = []

    def start(module: str, parameters: Mapping[str, Any] | None = None, *ros_arguments: str) -> NodeProcess:
        command = [sys.executable, "-m", module, "--ros-args"]
        for name, value in (parameters or {}).items():
            # JSON is the part of YAML that needs no guessing.
            command += ["-p", f"{name}:={value if isinstance(value, str) else json.dumps(value)}"]
        command += ros_arguments
        node = NodeProcess(command, tmp_path / f"{len(nodes)}-{module}.log")
        nodes.append((module, node))
        return node

    yield start
    for _, node in reversed(nodes):
        node.stop()
    for module, node in nodes:
        print(f"--- output of {module}\n{node.output}")


class Collector(Generic[MessageT]):
    """Every message of a topic, in order of arrival."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._messages: list[MessageT] = []

    def add(self, message: MessageT) -> None:
        """Called by the subscription."""
        self._messages.append(message)

    @property
    def messages(self) -> list[MessageT]:
        """All received so far (a copy)."""
        return list(self._messages)

    @property
    def last(self) -> MessageT | None:
        return self._messages[-1] if self._messages else None

    def clear(self) -> None:
        """Forgets what came so far."""
        self._messages.clear()

    def wait_for(
        self, condition: Callable[[MessageT], Any] = lambda message: True, timeout_s: float = PATIENCE_S
    ) -> MessageT:
        """The first message received after the last `clear` that satisfies the condition."""
        start = 0

        def found() -> list[MessageT]:
            nonlocal start
            messages = self._messages[start:]
            start += len(messages)
            return [message for message in messages if condition(message)][:1]

        def what() -> str:
            return f"a message on {self._topic}; {len(self._messages)} came, the last was {self.last}"

        return wait_until(found, what, timeout_s)[0]


class Peer:
    """A node in the test's own process, spun by a thread."""

    def __init__(self, domain: int) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = Node("test_peer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def now_ns(self) -> int:
        """ROS time, nanoseconds."""
        return self.node.get_clock().now().nanoseconds

    def publisher(self, message_type: Any, topic: str, profile: QoSProfile, matched: int = 1) -> Any:
        """A publisher, returned once `matched` subscriptions are there, so that no message is lost."""
        publisher = self.node.create_publisher(message_type, topic, profile)
        wait_until(lambda: publisher.get_subscription_count() >= matched, f"{matched} subscribers of {topic}")
        return publisher

    def collect(
        self, message_type: type[MessageT], topic: str, profile: QoSProfile, matched: int = 1
    ) -> Collector[MessageT]:
        """Subscribes, and returns once `matched` publishers are there."""
        collector: Collector[MessageT] = Collector(topic)
        self.node.create_subscription(message_type, topic, collector.add, profile)
        wait_until(lambda: self.node.count_publishers(topic) >= matched, f"{matched} publishers of {topic}")
        return collector

    @staticmethod
    def send_until(send: Callable[[], SentT], answered: Callable[[SentT], AnswerT], attempts: int = 20) -> AnswerT:
        """Sends until `answered`, of what `send` returned, does not fail, and returns the answer.

        Frames are best effort: the next one replaces a lost one.
        """
        for _ in range(attempts):
            try:
                return answered(send())
            except pytest.fail.Exception:
                continue
        pytest.fail(f"sent {attempts} times, and no answer came")

    def call(self, service_type: Any, name: str, request: Any = None) -> Any:
        """Calls a service and returns the response."""
        client = self.node.create_client(service_type, name)
        wait_until(client.service_is_ready, f"service {name}")
        future = client.call_async(request if request is not None else service_type.Request())
        wait_until(future.done, f"an answer of service {name}")
        self.node.destroy_client(client)
        return future.result()

    def close(self) -> None:
        """Ends the node and its thread."""
        self._context.try_shutdown()
        self._thread.join(10.0)
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def peer(ros_domain: int) -> Iterator[Peer]:
    """A node of the test's own, in its domain."""
    assert os.environ["ROS_DOMAIN_ID"] == str(ros_domain)
    test_peer = Peer(ros_domain)
    yield test_peer
    test_peer.close()
