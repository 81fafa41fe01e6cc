"""Executors: fairness, callback groups, coroutines, futures, errors; timers and clocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType, JumpThreshold, ROSClock
from rclpy.duration import Duration
from rclpy.exceptions import ROSInterruptException
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.task import Future
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import Int32, String
from std_srvs.srv import Trigger

PATIENCE_S = 60.0
"""For what must come; a busy machine may take long."""


def test_a_busy_topic_does_not_starve_others(
    make_node: Callable[..., Any], spin_until: Callable[..., None], executor: Any, wait_until: Callable[..., None]
) -> None:
    node = make_node("node")
    order: list[str] = []
    deep = QoSProfile(depth=100)
    busy, quiet = (node.create_publisher(Int32, name, deep) for name in ("busy", "quiet"))
    for name in ("busy", "quiet"):
        node.create_subscription(Int32, name, lambda message, name=name: order.append(name), deep)
    wait_until(lambda: busy.get_subscription_count() == quiet.get_subscription_count() == 1)
    for number in range(20):
        busy.publish(Int32(data=number))
    quiet.publish(Int32(data=0))
    spin_until(lambda: len(order) == 21)
    assert "quiet" in order[:2]


def test_timers_run_beside_a_flood(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    node = make_node("node")
    ticks: list[int] = []
    publisher = node.create_publisher(Int32, "flood", 10)
    node.create_subscription(Int32, "flood", lambda message: publisher.publish(message), 10)
    node.create_timer(0.01, lambda: ticks.append(1))
    publisher.publish(Int32())
    spin_until(lambda: len(ticks) >= 5)


def test_spin_once_ends_in_time(make_node: Callable[..., Any], executor: Any) -> None:
    make_node("node")
    for timeout in (0.0, 0.01):
        executor.spin_once(timeout_sec=timeout)


def test_errors_of_callbacks_come_out_of_spin(make_node: Callable[..., Any], executor: Any) -> None:
    node = make_node("node")
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ZeroDivisionError("from a callback")

    node.create_timer(0.0, fail)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="from a callback"):
            executor.spin_once(timeout_sec=PATIENCE_S)
    assert len(calls) == 2


def test_services_and_coroutines(make_node: Callable[..., Any], executor: Any) -> None:
    """A coroutine callback of a service waits for another service, in one thread."""
    node = make_node("node")
    group = ReentrantCallbackGroup()
    inner = node.create_client(Trigger, "inner", callback_group=group)

    async def outer(request: Any, response: Any) -> Any:
        answer = await inner.call_async(Trigger.Request())
        response.message = "outer " + answer.message
        return response

    def answer(request: Any, response: Any) -> Any:
        response.message = "inner"
        return response

    node.create_service(Trigger, "outer", outer)
    node.create_service(Trigger, "inner", answer, callback_group=group)
    client = node.create_client(Trigger, "outer", callback_group=group)
    assert client.wait_for_service(PATIENCE_S) and inner.wait_for_service(PATIENCE_S)
    future = client.call_async(Trigger.Request())
    executor.spin_until_future_complete(future, PATIENCE_S)
    assert future.result().message == "outer inner"


def test_many_calls_at_once(make_node: Callable[..., Any], executor: Any) -> None:
    node = make_node("node")
    count = 0

    def answer(request: Any, response: Any) -> Any:
        nonlocal count
        count += 1
        response.message = str(count)
        return response

    node.create_service(Trigger, "go", answer)
    clients = [node.create_client(Trigger, "go") for _ in range(3)]
    assert all(client.wait_for_service(PATIENCE_S) for client in clients)
    futures = [client.call_async(Trigger.Request()) for client in clients for _ in range(3)]
    for future in futures:
        executor.spin_until_future_complete(future, PATIENCE_S)
    assert sorted(int(future.result().message) for future in futures) == list(range(1, 10))


def test_blocking_call_with_a_spinning_thread(make_node: Callable[..., Any], executor: Any) -> None:
    node = make_node("node")
    node.create_service(Trigger, "go", lambda request, response: response)
    client = node.create_client(Trigger, "go")
    missing = node.create_client(Trigger, "missing")
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        assert client.wait_for_service(PATIENCE_S)
        assert client.call(Trigger.Request(), timeout_sec=PATIENCE_S) == Trigger.Response()
        assert missing.call(Trigger.Request(), timeout_sec=0.05) is None
        assert not missing.wait_for_service(0.05)
        with pytest.raises(TypeError):
            client.call_async(Trigger.Response())
    finally:
        executor.shutdown()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_tasks_and_futures(make_node: Callable[..., Any], executor: Any) -> None:
    make_node("node")
    gate = Future()

    async def add(number: int) -> int:
        return number + await gate

    task = executor.create_task(add, 1)
    executor.spin_once(timeout_sec=0.01)
    assert not task.done()
    gate.set_result(41)
    executor.spin_until_future_complete(task, PATIENCE_S)
    assert task.result() == 42
    assert executor.create_task(lambda: 3) is not None
    failing = executor.create_task(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        executor.spin_until_future_complete(failing, PATIENCE_S)
    future = Future()
    future.cancel()
    assert future.cancelled() and future.done()


def test_endless_coroutines_do_not_starve_others(
    make_node: Callable[..., Any], executor: Any, spin_until: Callable[..., None]
) -> None:
    class Turn:
        def __await__(self) -> Any:
            yield

    turns = []

    async def endless() -> None:
        while True:
            turns.append(None)
            await Turn()

    node = make_node("patient")
    ticks: list[Any] = []
    node.create_timer(0.01, lambda: ticks.append(None))
    tasks = [executor.create_task(endless) for _ in range(2)]
    spin_until(lambda: len(ticks) >= 3)
    assert len(turns) > 3
    for task in tasks:
        task.cancel()


def test_mutually_exclusive_and_reentrant_groups(context: Any) -> None:
    """Callbacks of one exclusive group never overlap, those of a reentrant group do."""
    node = Node("node", context=context)
    executor = MultiThreadedExecutor(4, context=context)
    executor.add_node(node)
    running = {"exclusive": 0, "reentrant": 0}
    most = {"exclusive": 0, "reentrant": 0}
    calls = {"exclusive": 0, "reentrant": 0}
    lock = threading.Lock()

    def work(kind: str) -> None:
        with lock:
            running[kind] += 1
            calls[kind] += 1
            most[kind] = max(most[kind], running[kind])
        time.sleep(0.02)
        with lock:
            running[kind] -= 1

    for kind, group in (("exclusive", MutuallyExclusiveCallbackGroup()), ("reentrant", ReentrantCallbackGroup())):
        for _ in range(2):
            node.create_timer(0.005, lambda kind=kind: work(kind), group)
    deadline = time.monotonic() + PATIENCE_S
    while (most["reentrant"] < 2 or calls["exclusive"] < 5) and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    assert most["exclusive"] == 1 and most["reentrant"] >= 2


def test_errors_in_the_pool_come_out_of_spin(context: Any) -> None:
    node = Node("node", context=context)
    executor = MultiThreadedExecutor(2, context=context)
    executor.add_node(node)
    node.create_timer(0.0, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        while True:
            executor.spin_once(timeout_sec=PATIENCE_S)
    executor.shutdown()


def test_shutdown_ends_spin(context: Any) -> None:
    node = Node("node", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    ended: list[BaseException | None] = []

    def spin() -> None:
        try:
            executor.spin()
            ended.append(None)
        except ExternalShutdownException as error:
            ended.append(error)

    thread = threading.Thread(target=spin)
    thread.start()
    time.sleep(0.05)
    context.shutdown()
    thread.join(PATIENCE_S)
    assert not thread.is_alive() and len(ended) == 1


def test_guard_condition(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    node = make_node("node")
    called: list[int] = []
    guard = node.create_guard_condition(lambda: called.append(1))
    guard.trigger()
    spin_until(lambda: called)
    node.destroy_guard_condition(guard)


def test_destroyed_entities_are_silent(
    make_node: Callable[..., Any], executor: Any, wait_until: Callable[..., None]
) -> None:
    node = make_node("node")
    received: list[Any] = []
    publisher = node.create_publisher(String, "t", 10)
    subscription = node.create_subscription(String, "t", received.append, 10)
    timer = node.create_timer(0.0, lambda: received.append("tick"))
    wait_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(String(data="x"))
    assert node.destroy_subscription(subscription) and not node.destroy_subscription(subscription)
    assert node.destroy_timer(timer)
    for _ in range(3):
        executor.spin_once(timeout_sec=0.01)
    assert received == []
    assert node.destroy_publisher(publisher)
    with pytest.raises(RuntimeError, match="publisher"):
        publisher.publish(String())


def test_timer_functions(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    node = make_node("node")
    calls: list[int] = []
    timer = node.create_timer(0.01, lambda: calls.append(1))
    spin_until(lambda: len(calls) >= 2)
    timer.cancel()
    assert timer.is_canceled() and not timer.is_ready() and timer.time_until_next_call() is None
    timer.reset()
    assert timer.time_until_next_call() <= timer.timer_period_ns == 10_000_000
    slow = node.create_timer(1000.0, print)
    assert 0 < slow.time_until_next_call() <= slow.timer_period_ns == 1_000_000_000_000
    late = node.create_timer(10.0, print, autostart=False)
    assert late.is_canceled()
    with pytest.raises(ValueError, match="negative"):
        node.create_timer(-1.0, print)


def test_missed_calls_are_skipped(make_node: Callable[..., Any], executor: Any) -> None:
    node = make_node("node")
    clock = node.get_clock()
    clock._set_ros_time_is_active(True)
    calls: list[int] = []
    timer = node.create_timer(1.0, lambda: calls.append(clock.now().nanoseconds))
    for seconds in (0.5, 1.1, 1.9, 5.5, 5.9, 6.0):
        clock.set_ros_time_override(Time(seconds=seconds, clock_type=ClockType.ROS_TIME))
        executor.spin_once(timeout_sec=0.02)
        executor.spin_once(timeout_sec=0.0)
    assert [round(call / 1e9, 1) for call in calls] == [1.1, 5.5, 6.0]
    clock.set_ros_time_override(Time(seconds=2.0, clock_type=ClockType.ROS_TIME))  # back in time
    assert timer.time_until_next_call() == 1_000_000_000


def test_simulated_time(
    make_node: Callable[..., Any], spin_until: Callable[..., None], wait_until: Callable[..., None]
) -> None:
    node = make_node("node", parameter_overrides=[Parameter("use_sim_time", value=True)])
    ticks: list[float] = []
    node.create_timer(1.0, lambda: ticks.append(node.get_clock().now().nanoseconds / 1e9))
    assert node.get_clock().ros_time_is_active and node.get_clock().now().nanoseconds == 0
    source = make_node("source")
    publisher = source.create_publisher(ClockMessage, "/clock", 10)
    wait_until(lambda: publisher.get_subscription_count() == 1)
    jumps: list[Any] = []
    handle = node.get_clock().create_jump_callback(
        JumpThreshold(min_forward=Duration(seconds=5), min_backward=None, on_clock_change=True),
        post_callback=jumps.append,
    )
    for seconds in (0.5, 1.5, 2.5, 100.0):
        message = ClockMessage()
        message.clock.sec, message.clock.nanosec = int(seconds), int(seconds % 1 * 1e9)
        publisher.publish(message)
        spin_until(lambda seconds=seconds: node.get_clock().now().nanoseconds == int(seconds * 1e9))
    spin_until(lambda: len(ticks) == 3)
    assert ticks == [1.5, 2.5, 100.0] and len(jumps) == 1
    assert node.set_parameters([Parameter("use_sim_time", value=False)])[0].successful
    assert abs(node.get_clock().now().nanoseconds - time.time_ns()) < 60e9 and len(jumps) == 2
    handle.unregister()
    assert not node.set_parameters([Parameter("use_sim_time", value="x")])[0].successful


def test_rate_and_sleep(make_node: Callable[..., Any], executor: Any, context: Any) -> None:
    node = make_node("node")
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        rate = node.create_rate(100.0)
        for _ in range(3):
            rate.sleep()
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        before = clock.now()
        assert clock.sleep_for(Duration(seconds=0.02), context)
        assert clock.now() - before >= Duration(seconds=0.02)
        sleeping = node.create_rate(0.001)
        threading.Timer(0.05, lambda: node.destroy_rate(sleeping)).start()
        with pytest.raises(ROSInterruptException):
            sleeping.sleep()
    finally:
        executor.shutdown()
        thread.join(PATIENCE_S)


def test_sleep_ends_with_shutdown(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(clock_type=ClockType.STEADY_TIME)
    add_wakeup = context.add_wakeup

    def shut_down_who_sleeps(wake: Any) -> None:
        add_wakeup(wake)
        threading.Thread(target=context.shutdown).start()

    monkeypatch.setattr(context, "add_wakeup", shut_down_who_sleeps)
    assert clock.sleep_for(Duration(seconds=6000.0), context) is False


def test_times_and_durations() -> None:
    assert Duration(seconds=1.5).nanoseconds == 1_500_000_000
    assert Duration(nanoseconds=-1).to_msg().sec == -1 and Duration(nanoseconds=-1).to_msg().nanosec == 999_999_999
    assert Duration.from_msg(Duration(nanoseconds=-1).to_msg()) == Duration(nanoseconds=-1)
    one = Time(seconds=1, clock_type=ClockType.ROS_TIME)
    assert (one + Duration(seconds=1)) - one == Duration(seconds=1) and one < one + Duration(nanoseconds=1)
    assert Time.from_msg(one.to_msg()) == one and one.seconds_nanoseconds() == (1, 0)
    with pytest.raises(TypeError, match="different clock types"):
        one < Time(seconds=1)  # noqa: B015
    with pytest.raises(OverflowError):
        one - Duration(seconds=2)
    with pytest.raises(ValueError, match="negative"):
        Time(seconds=-1)
    assert isinstance(Clock(clock_type=ClockType.ROS_TIME), ROSClock)
