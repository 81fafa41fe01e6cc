"""Actions: life of a goal between a server and a client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from action_msgs.msg import GoalInfo, GoalStatus, GoalStatusArray
from action_msgs.srv import CancelGoal
from example_interfaces.action import Fibonacci
from rclpy.action import (
    ActionClient,
    ActionServer,
    CancelResponse,
    GoalResponse,
    get_action_client_names_and_types_by_node,
    get_action_names_and_types,
    get_action_server_names_and_types_by_node,
)
from rclpy.exceptions import RCLError
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_action_status_default
from rclpy.task import Future

NAME = "fibonacci"


def fibonacci(order: int) -> list[int]:
    numbers = [0, 1]
    while len(numbers) <= order:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers


def succeed(goal_handle: Any) -> Any:
    goal_handle.publish_feedback(Fibonacci.Feedback(sequence=[goal_handle.request.order]))
    goal_handle.succeed()
    return Fibonacci.Result(sequence=fibonacci(goal_handle.request.order))


@pytest.fixture
def bench(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> Any:
    """A server's node, and a client that has found the server."""

    class Bench:
        server_node = make_node("server")
        client_node = make_node("client")

        def serve(self, execute: Callable[..., Any], **options: Any) -> ActionServer:
            server = ActionServer(self.server_node, Fibonacci, NAME, execute, **options)
            self.client = ActionClient(self.client_node, Fibonacci, NAME)
            spin_until(self.client.server_is_ready, "the server")
            return server

        def result_of(self, future: Future) -> Any:
            spin_until(future.done, "an answer")
            return future.result()

        def send(self, order: int = 5, **options: Any) -> Any:
            return self.result_of(self.client.send_goal_async(Fibonacci.Goal(order=order), **options))

    return Bench()


def test_goal_gets_feedback_result_and_status(bench: Any, spin_until: Callable[..., None]) -> None:
    bench.serve(succeed)
    feedback: list[int] = []
    handle = bench.send(7, feedback_callback=lambda message: feedback.extend(message.feedback.sequence))
    assert handle.accepted and handle.stamp.sec > 0
    response = bench.result_of(handle.get_result_async())
    assert response.status == GoalStatus.STATUS_SUCCEEDED
    assert list(response.result.sequence) == fibonacci(7)
    spin_until(lambda: handle.status == GoalStatus.STATUS_SUCCEEDED and feedback == [7])
    # A second request is answered from the kept result.
    assert bench.result_of(handle.get_result_async()).status == GoalStatus.STATUS_SUCCEEDED


def test_all_feedback_comes_before_the_result(bench: Any) -> None:
    def execute(goal_handle: Any) -> Any:
        for number in range(8):
            goal_handle.publish_feedback(Fibonacci.Feedback(sequence=[number]))
        goal_handle.succeed()
        return Fibonacci.Result()

    bench.serve(execute)
    for _ in range(5):
        feedback: list[int] = []
        handle = bench.send(feedback_callback=lambda message: feedback.extend(message.feedback.sequence))  # noqa: B023
        bench.result_of(handle.get_result_async())
        assert feedback == list(range(8))


def test_status_is_latched(bench: Any, spin_until: Callable[..., None]) -> None:
    bench.serve(succeed)
    bench.result_of(bench.send().get_result_async())
    received: list[Any] = []
    bench.client_node.create_subscription(
        GoalStatusArray, f"{NAME}/_action/status", received.append, qos_profile_action_status_default
    )
    spin_until(lambda: received)
    assert [entry.status for entry in received[-1].status_list] == [GoalStatus.STATUS_SUCCEEDED]


def test_goal_callback_rejects(bench: Any) -> None:
    bench.serve(succeed, goal_callback=lambda goal: GoalResponse.REJECT if goal.order > 9 else GoalResponse.ACCEPT)
    handle = bench.send(10)
    assert not handle.accepted
    assert bench.result_of(handle.get_result_async()).status == GoalStatus.STATUS_UNKNOWN
    assert bench.send(9).accepted


@pytest.mark.parametrize(
    "execute",
    [
        pytest.param(lambda handle: Fibonacci.Result(), id="left active"),
        pytest.param(lambda handle: 1 / 0, id="raised"),
        pytest.param(lambda handle: handle.abort() or Fibonacci.Result(), id="aborted"),
    ],
)
def test_goal_that_does_not_succeed_is_aborted(bench: Any, execute: Callable[..., Any]) -> None:
    bench.serve(execute)
    assert bench.result_of(bench.send().get_result_async()).status == GoalStatus.STATUS_ABORTED


def test_cancelling(bench: Any) -> None:
    end = Future()

    async def execute(handle: Any) -> Any:
        await end
        assert handle.is_cancel_requested
        handle.canceled()
        return Fibonacci.Result(sequence=[1])

    answers = [CancelResponse.REJECT, CancelResponse.ACCEPT]
    bench.serve(execute, cancel_callback=lambda handle: answers.pop(0))
    handle = bench.send()
    refused = bench.result_of(handle.cancel_goal_async())
    assert refused.return_code == CancelGoal.Response.ERROR_REJECTED and not refused.goals_canceling
    accepted = bench.result_of(handle.cancel_goal_async())
    assert accepted.return_code == CancelGoal.Response.ERROR_NONE
    assert [info.goal_id for info in accepted.goals_canceling] == [handle.goal_id]
    result = handle.get_result_async()
    end.set_result(None)
    assert bench.result_of(result).status == GoalStatus.STATUS_CANCELED
    late = bench.result_of(handle.cancel_goal_async())
    assert late.return_code == CancelGoal.Response.ERROR_GOAL_TERMINATED
    handle.goal_id.uuid[0] ^= 1
    unknown = bench.result_of(handle.cancel_goal_async())
    assert unknown.return_code == CancelGoal.Response.ERROR_UNKNOWN_GOAL_ID


def test_cancelling_all_and_up_to_a_time(bench: Any) -> None:
    waiting: list[Any] = []
    bench.serve(succeed, handle_accepted_callback=waiting.append, cancel_callback=lambda handle: CancelResponse.ACCEPT)
    first, second = bench.send(), bench.send()
    client = bench.client_node.create_client(CancelGoal, f"{NAME}/_action/cancel_goal")
    request = CancelGoal.Request(goal_info=GoalInfo(stamp=first.stamp))
    response = bench.result_of(client.call_async(request))
    assert [info.goal_id for info in response.goals_canceling] == [first.goal_id]
    response = bench.result_of(client.call_async(CancelGoal.Request()))
    assert [info.goal_id for info in response.goals_canceling] == [second.goal_id]
    assert all(handle.is_cancel_requested for handle in waiting)


def test_deferred_execution_and_forbidden_transitions(bench: Any) -> None:
    waiting: list[Any] = []
    bench.serve(succeed, handle_accepted_callback=waiting.append)
    handle = bench.send(3)
    result = handle.get_result_async()
    (server_handle,) = waiting
    assert server_handle.status == GoalStatus.STATUS_ACCEPTED and server_handle.is_active
    with pytest.raises(RCLError, match="ACCEPTED with event SUCCEED"):
        server_handle.succeed()
    with pytest.raises(RCLError, match="CANCELED"):
        server_handle.canceled()
    with pytest.raises(TypeError):
        server_handle.publish_feedback(Fibonacci.Goal())
    server_handle.execute()
    assert bench.result_of(result).status == GoalStatus.STATUS_SUCCEEDED
    with pytest.raises(RCLError):
        server_handle.abort()


def test_results_expire(bench: Any, spin_until: Callable[..., None]) -> None:
    bench.serve(succeed, result_timeout=0.2)
    handle = bench.send()
    assert bench.result_of(handle.get_result_async()).status == GoalStatus.STATUS_SUCCEEDED

    def is_gone() -> bool:
        return bench.result_of(handle.get_result_async()).status == GoalStatus.STATUS_UNKNOWN

    spin_until(is_gone, "the end of the result")


def test_graph_and_end(bench: Any, spin_until: Callable[..., None]) -> None:
    server = bench.serve(succeed)
    wanted = [(f"/{NAME}", ["example_interfaces/action/Fibonacci"])]
    node = bench.client_node
    assert get_action_names_and_types(node) == wanted
    assert get_action_server_names_and_types_by_node(node, "server", "/") == wanted
    assert get_action_client_names_and_types_by_node(node, "client", "/") == wanted
    assert get_action_server_names_and_types_by_node(node, "client", "/") == []
    server.destroy()
    server.destroy()
    assert list(bench.server_node.timers) == []
    spin_until(lambda: not bench.client.server_is_ready(), "the end of the server")
    assert not bench.client.wait_for_server(0.05)
    bench.client.destroy()
    assert get_action_names_and_types(node) == []


def test_wrong_types_are_refused(make_node: Callable[..., Any]) -> None:
    node = make_node("wrong")
    with pytest.raises(RuntimeError, match="action type"):
        ActionServer(node, CancelGoal, NAME, succeed)
    with pytest.raises(TypeError, match="not callable"):
        ActionServer(node, Fibonacci, NAME, None)  # type: ignore[arg-type]
    client = ActionClient(node, Fibonacci, NAME)
    with pytest.raises(TypeError):
        client.send_goal_async(Fibonacci.Result())


def test_blocking_calls_and_blocking_execution_in_threads(context: Any) -> None:
    node = Node("both", context=context)
    executor = MultiThreadedExecutor(4, context=context)
    executor.add_node(node)
    started, end = threading.Event(), threading.Event()

    def execute(handle: Any) -> Any:
        started.set()
        end.wait(30.0)
        (handle.canceled if handle.is_cancel_requested else handle.succeed)()
        return Fibonacci.Result(sequence=[handle.request.order])

    ActionServer(node, Fibonacci, NAME, execute, cancel_callback=lambda handle: CancelResponse.ACCEPT)
    client = ActionClient(node, Fibonacci, NAME)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        assert client.wait_for_server(30.0)
        future = client.send_goal_async(Fibonacci.Goal(order=1))
        assert started.wait(30.0)
        client._wait(future)
        assert len(future.result().cancel_goal().goals_canceling) == 1
        end.set()
        assert future.result().get_result().status == GoalStatus.STATUS_CANCELED
        response = client.send_goal(Fibonacci.Goal(order=2))
        assert response.status == GoalStatus.STATUS_SUCCEEDED and list(response.result.sequence) == [2]
    finally:
        executor.shutdown()
        thread.join(10.0)
