"""What else runs on the machine: more contexts, forks, processes that stall, floods, names that clash."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rclpy
from rclpy import graph_monitor
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String


def _talk(domain: int) -> None:
    """Runs in a process started by multiprocessing."""
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    rclpy.init(args=[])
    node = Node("child")
    publisher = node.create_publisher(String, "chatter", 10)
    node.create_timer(0.05, lambda: publisher.publish(String(data="from the child")))
    rclpy.spin(node)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_of_multiprocessing(
    method: str, domain: int, make_node: Callable[..., Any], spin_until: Callable[..., None]
) -> None:
    """Children talk to the parent, whether they begin from nothing or as a copy of a parent that has nodes."""
    received: list[Any] = []
    make_node("parent").create_subscription(String, "chatter", received.append, 10)
    child = multiprocessing.get_context(method).Process(target=_talk, args=(domain,), daemon=True)
    child.start()
    try:
        spin_until(lambda: received, "a message of the child")
    finally:
        child.kill()
        child.join()


def test_ending_a_forked_child_leaves_the_parent_alone(domain: int, start_peer: Callable[..., Any]) -> None:
    """A signal to a child must not end the contexts of its parent; both use the default context."""
    peer = start_peer(
        """
        import multiprocessing, signal, time, warnings
        warnings.simplefilter("ignore")
        import rclpy
        from rclpy.executors import ExternalShutdownException
        from rclpy.node import Node
        from std_msgs.msg import String

        def child():
            assert not rclpy.ok()
            rclpy.init(args=[])
            node = Node("child")
            node.get_logger().info("logging works")
            publisher = node.create_publisher(String, "chatter", 10)
            node.create_timer(0.05, lambda: publisher.publish(String()))
            try:
                rclpy.spin(node)
            except ExternalShutdownException:
                pass  # spin returns without it when the signal comes between two callbacks

        rclpy.init(args=[])
        node = Node("parent")
        received = []
        node.create_subscription(String, "chatter", received.append, 10)
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        while not received:
            rclpy.spin_once(node, timeout_sec=0.1)
        process.terminate()
        process.join()
        rclpy.spin_once(node, timeout_sec=0.2)
        print("PARENT", rclpy.ok(), process.exitcode, flush=True)
        """
    )
    assert peer.wait_for("PARENT") == "True 0"
    assert peer.end() == 0


def test_two_contexts_of_one_domain_talk(domain: int, wait_until: Callable[..., None]) -> None:
    contexts = [Context(), Context()]
    for context in contexts:
        context.init([], domain_id=domain)
    try:
        nodes = [Node(f"node{index}", context=context) for index, context in enumerate(contexts)]
        executors = [SingleThreadedExecutor(context=context) for context in contexts]
        received: list[Any] = []
        publisher = nodes[0].create_publisher(String, "chatter", 10)
        nodes[1].create_subscription(String, "chatter", received.append, 10)
        for node, executor in zip(nodes, executors, strict=True):
            executor.add_node(node)
        wait_until(lambda: publisher.get_subscription_count() == 1 and len(nodes[1].get_node_names()) == 2)
        publisher.publish(String(data="across"))
        contexts[0].try_shutdown()  # one context ends, the other goes on
        wait_until(lambda: executors[1].spin_once(timeout_sec=0.01) or received)
        assert contexts[1].ok() and nodes[1].get_node_names() == ["node1"]
    finally:
        for context in contexts:
            context.try_shutdown()


@pytest.mark.parametrize("depth", [1, 10])
def test_a_stalled_reader_does_not_block_the_writer(
    depth: int, make_node: Callable[..., Any], start_peer: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    """Reliable images to a stopped process: all writes return while it is stopped; later it gets the newest."""
    peer = start_peer(
        """
        import sys, rclpy
        from rclpy.node import Node
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image
        rclpy.init(args=[])
        node = Node("reader")
        node.create_subscription(
            Image, "camera", lambda image: print("GOT", image.header.frame_id), QoSProfile(depth=int(sys.argv[1]))
        )
        print("READY")
        rclpy.spin(node)
        """,
        str(depth),
    )
    publisher = make_node("camera").create_publisher(Image, "camera", QoSProfile(depth=depth))
    peer.wait_for("READY")
    wait_until(lambda: publisher.get_subscription_count() == 1)
    peer.signal(signal.SIGSTOP)

    def write() -> None:
        image = Image(height=480, width=640, step=1920, data=np.zeros(921600, dtype=np.uint8))
        for index in range(90):
            image.header.frame_id = str(index)
            publisher.publish(image)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(30.0)
    blocked = thread.is_alive()
    peer.signal(signal.SIGCONT)
    assert not blocked, "a write waited for the stopped reader"
    while peer.wait_for("GOT") != "89":
        pass


def test_a_publisher_that_is_faster_than_its_reader(
    make_node: Callable[..., Any], spin_until: Callable[..., None]
) -> None:
    """KEEP_LAST keeps the newest, in order, and the rest costs nothing."""
    node = make_node("hasty")
    received: list[int] = []
    publisher = node.create_publisher(String, "flood", 5)
    node.create_subscription(String, "flood", lambda message: received.append(int(message.data)), 5)
    for index in range(5000):
        publisher.publish(String(data=str(index)))
    spin_until(lambda: 4999 in received)
    assert received == [4995, 4996, 4997, 4998, 4999]


def test_images_are_shared_within_a_process(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    """All subscriptions of a process look at the one buffer that publishing has made, and it stays as it was."""
    node = make_node("composed")
    received: list[Any] = []
    for _ in range(3):
        node.create_subscription(Image, "camera", lambda image: received.append(image.data), 1)
    publisher = node.create_publisher(Image, "camera", 1)
    pixels = np.full(921600, 7, dtype=np.uint8)
    publisher.publish(Image(height=480, width=640, step=1920, data=pixels))
    pixels[:] = 0  # the publisher goes on with its own buffer
    spin_until(lambda: len(received) == 3)
    assert all(np.shares_memory(received[0], other) for other in received[1:])
    assert received[0].min() == 7 and not received[0].flags.writeable


def test_nodes_leave_nothing_behind(domain: int) -> None:
    context = Context()
    context.init([], domain_id=domain)

    def live_and_die() -> None:
        node = Node("passing", context=context)
        node.create_publisher(String, "chatter", 1)
        node.create_subscription(String, "chatter", print, 1)
        node.create_timer(1.0, print)
        node.destroy_node()

    try:
        live_and_die()
        before = len(os.listdir("/proc/self/fd")), threading.active_count()
        for _ in range(20):
            live_and_die()
        # Sockets of contexts of earlier tests may close meanwhile.
        after = len(os.listdir("/proc/self/fd")), threading.active_count()
        assert after[0] <= before[0] and after[1] <= before[1]
        assert context.graph.nodes() == [] and context._nodes == []
    finally:
        context.try_shutdown()


def test_clashing_names_are_said_once(
    make_node: Callable[..., Any],
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The sign that somebody else's robot is in the same domain."""
    make_node("controller", namespace="/arm")
    make_node("controller")
    context.maintain()
    assert "There are 2 nodes" not in capfd.readouterr().err
    make_node("controller", namespace="/arm")
    context.maintain()
    assert "There are 2 nodes" not in capfd.readouterr().err  # perhaps it was killed and started again
    monkeypatch.setattr(graph_monitor, "CLASH_PATIENCE_S", 0.0)
    for _ in range(2):
        context.maintain()
    logged = capfd.readouterr().err
    assert logged.count("There are 2 nodes with the name '/arm/controller' in domain") == 1
    assert "ROS_DOMAIN_ID" in logged


def test_a_full_domain_says_so(context: Any, make_node: Callable[..., Any], start_peer: Callable[..., Any]) -> None:
    make_node("first")
    peer = start_peer(
        """
        import rclpy
        import rclpy_dds._dds.config as config
        config.MAX_PARTICIPANT_INDEX = 0
        rclpy.init(args=[])
        try:
            rclpy.create_node("second")
        except Exception as error:
            print("ERROR", error)
        """
    )
    assert "room for 1 processes, another ROS_DOMAIN_ID" in peer.wait_for("ERROR")
