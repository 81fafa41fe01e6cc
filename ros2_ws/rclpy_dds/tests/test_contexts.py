"""Contexts: initialise, shut down, again, and what is refused."""

from __future__ import annotations

import os
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.exceptions import NotInitializedException
from std_msgs.msg import String


def test_init_and_shutdown_again_and_again(domain: int) -> None:
    for _ in range(2):
        with rclpy.init(args=[]):
            assert rclpy.ok()
            node = rclpy.create_node("node")
            publisher = node.create_publisher(String, "t", 1)
        assert not rclpy.ok()
        with pytest.raises(RuntimeError, match="publisher"):
            publisher.publish(String())
    rclpy.init(args=[])
    with pytest.raises(RuntimeError, match="once"):
        rclpy.init(args=[])
    rclpy.shutdown()
    with pytest.raises(RuntimeError):
        rclpy.shutdown()
    rclpy.try_shutdown()


def test_a_node_needs_init() -> None:
    with pytest.raises(NotInitializedException):
        rclpy.create_node("node", context=Context())


def test_shutdown_callbacks(context: Any) -> None:
    called: list[str] = []
    context.on_shutdown(lambda: called.append("function"))

    class Listener:
        def method(self) -> None:
            called.append("method")

    listener = Listener()
    context.on_shutdown(listener.method)
    context.shutdown()
    assert called == ["function", "method"]
    context.on_shutdown(lambda: called.append("late"))
    assert called[-1] == "late"
    with pytest.raises(RuntimeError, match="already"):
        context.shutdown()


def test_nodes_are_destroyed_at_shutdown(context: Any) -> None:
    node = rclpy.create_node("node", context=context)
    context.shutdown()
    with pytest.raises(RuntimeError, match="node"):
        _ = node.handle


def test_domains_are_apart(domain: int) -> None:
    contexts = [Context() for _ in range(2)]
    try:
        for index, context in enumerate(contexts):
            context.init([], domain_id=domain + index)
        nodes = [rclpy.create_node(f"node{index}", context=context) for index, context in enumerate(contexts)]
        assert [context.get_domain_id() for context in contexts] == [domain, domain + 1]
        assert nodes[0].get_node_names() == ["node0"]
    finally:
        for context in contexts:
            context.try_shutdown()


def test_domains_leave_nothing_behind(domain: int) -> None:
    """The last context of a domain releases its sockets and threads; calls that come late do no harm."""

    def resources() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    def live() -> None:
        context = Context()
        context.init([], domain_id=domain)
        node = rclpy.create_node("node", context=context)
        publisher = node.create_publisher(String, "t", 1)
        guard = node.create_guard_condition(lambda: None)
        context.try_shutdown()
        guard.trigger()
        with pytest.raises(RuntimeError):
            publisher.get_subscription_count()

    live()
    before = resources()
    for _ in range(5):
        live()
    after = resources()
    assert after[0] <= before[0] and after[1] <= before[1]


def test_what_is_not_covered_says_so(context: Any) -> None:
    node = rclpy.create_node("node", context=context)
    with pytest.raises(NotImplementedError, match="content filters"):
        node.create_subscription(String, "t", print, 1, content_filter_options=object())
    with pytest.raises(NotImplementedError, match="EventsExecutor"):
        from rclpy.experimental import EventsExecutor  # noqa: F401
    with pytest.raises(NotImplementedError, match="waitable"):
        node.add_waitable(object())
    with pytest.raises(AttributeError, match=r"rclpy\.nonsense"):
        rclpy.nonsense  # noqa: B018
