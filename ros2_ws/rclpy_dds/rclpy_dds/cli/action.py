"""`ros2 action`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Any

from action_msgs.msg import GoalStatus

from ..rclpy.action import ActionClient
from ..rclpy.action.graph import (
    get_action_client_names_and_types_by_node,
    get_action_names_and_types,
    get_action_server_names_and_types_by_node,
)
from ..rclpy.executors import SingleThreadedExecutor
from .graph import (
    DISCOVERY_TIMEOUT_S,
    add_graph_arguments,
    joined_graph,
    node_names,
    not_there,
    print_names,
    unknown_name,
    wait_until,
)
from .messages import get_interface, message_to_dict, parse_yaml_fields, set_message_fields, to_yaml
from .verbs import Verb, add_verbs, run_verb

_SPIN_S = 0.1
_HINT_AFTER_S = 2.0
_CANCEL_TIMEOUT_S = 5.0
_STATUS = {
    GoalStatus.STATUS_ACCEPTED: "ACCEPTED",
    GoalStatus.STATUS_EXECUTING: "EXECUTING",
    GoalStatus.STATUS_CANCELING: "CANCELING",
    GoalStatus.STATUS_SUCCEEDED: "SUCCEEDED",
    GoalStatus.STATUS_CANCELED: "CANCELED",
    GoalStatus.STATUS_ABORTED: "ABORTED",
}
_ENDED = (GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED)


def _with_types(name: str, types: list[str], show: bool) -> str:
    return f"{name} [{', '.join(types)}]" if show else name


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("-t", "--show-types", action="store_true", help="Additionally show the action type")
    parser.add_argument(
        "-c", "--count-actions", action="store_true", help="Only display the number of actions discovered"
    )


def _list(args: argparse.Namespace) -> None:
    with joined_graph(args) as node:
        actions = sorted(get_action_names_and_types(node))
    print_names([_with_types(name, types, args.show_types) for name, types in actions], args.count_actions)


def _type_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("action_name", help="Name of the ROS action to get type (e.g. '/fibonacci')")


def _type(args: argparse.Namespace) -> str | None:
    name = _absolute(args.action_name)
    with joined_graph(args, wait=False) as node:
        types = wait_until(
            lambda: dict(get_action_names_and_types(node)).get(name), args.spin_time + DISCOVERY_TIMEOUT_S
        )
        if not types:
            return unknown_name("action", name, [known for known, _ in get_action_names_and_types(node)])
    for kind in types:
        print(kind)
    return None


def _absolute(name: str) -> str:
    return name if name.startswith("/") else "/" + name


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("action_name", help="Name of the ROS action to get info (e.g. '/fibonacci')")
    parser.add_argument("-t", "--show-types", action="store_true", help="Additionally show the action type")
    parser.add_argument(
        "-c", "--count", action="store_true", help="Only display the number of action clients and action servers"
    )


def _info(args: argparse.Namespace) -> None:
    name = _absolute(args.action_name)
    with joined_graph(args) as node:
        # A server may be there before it is discovered; an action without anybody is no error for the stock tool.
        wait_until(lambda: name in dict(get_action_names_and_types(node)), DISCOVERY_TIMEOUT_S)
        found: dict[str, list[str]] = {}
        for role, by_node in (
            ("clients", get_action_client_names_and_types_by_node),
            ("servers", get_action_server_names_and_types_by_node),
        ):
            found[role] = [
                _with_types(entry.full_name, types, args.show_types)
                for entry in node_names(node, include_hidden=True)
                for action, types in by_node(node, entry.name, entry.namespace)
                if action == name
            ]
    print(f"Action: {args.action_name}")
    for role, lines in found.items():
        print(f"Action {role}: {len(lines)}")
        if not args.count:
            for line in lines:
                print(f"    {line}")


# send_goal


def _send_goal_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action_name", help="Name of the ROS action (e.g. '/fibonacci')")
    parser.add_argument("action_type", help="Type of the ROS action (e.g. 'example_interfaces/action/Fibonacci')")
    values = parser.add_mutually_exclusive_group()
    values.add_argument("goal", nargs="?", default="{}", help="Goal request values in YAML format (e.g. '{order: 10}')")
    values.add_argument("--stdin", action="store_true", help="Read goal from standard input")
    parser.add_argument("-f", "--feedback", action="store_true", help="Echo feedback messages for the goal")


def _indented(message: Any) -> str:
    return "    " + to_yaml(message_to_dict(message))


def _send_goal(args: argparse.Namespace) -> int | str | None:
    action = get_interface(args.action_type, "action")
    goal = action.Goal()
    try:
        set_message_fields(goal, parse_yaml_fields(sys.stdin.read() if args.stdin else args.goal))
    except ValueError as error:
        return f"Failed to populate message fields: {error}"
    # The goal is to be cancelled when the command is interrupted, so a signal must not end the context.
    with joined_graph(args, f"_ros2cli_send_goal_{os.getpid()}", wait=False, handle_signals=False) as node:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        sender = _GoalSender(node, executor, ActionClient(node, action, args.action_name), args)
        previous = {number: signal.signal(number, sender.interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return sender.run(goal)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            executor.shutdown()


class _GoalSender:
    """Sends one goal and reports on it; cancels it when interrupted."""

    def __init__(self, node: Any, executor: Any, client: Any, args: argparse.Namespace) -> None:
        self._node = node
        self._executor = executor
        self._client = client
        self._args = args
        self._sent: Any = None  # future of the goal's handle, from the moment that the goal is sent
        self._interrupted = False

    def interrupt(self, number: int, frame: Any) -> None:
        """Handle a signal: end the command, or first cancel its goal once that is sent.

        Raising in the executor could lose an answer that it has taken and not yet delivered, and without the answer to
        the goal there is nothing to cancel: the first signal then waits for the executor. A second one does not.
        """
        if self._sent is None or self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def run(self, goal: Any) -> int | str | None:
        """Return an exit status or an error message."""
        try:
            return self._run(goal)
        except KeyboardInterrupt:
            if self._sent is None:
                raise
            return self._cancel()
        finally:
            self._client.destroy()

    def _run(self, goal: Any) -> int | str | None:
        print("Waiting for an action server to become available...")
        self._wait_for_server()
        print(f"Sending goal:\n {_indented(goal)}")
        feedback = self._print_feedback if self._args.feedback else None
        self._sent = self._client.send_goal_async(goal, feedback)
        handle = self._result(self._sent, interruptible=True)
        if not handle.accepted:
            print("Goal was rejected.")
            return 1
        print(f"Goal accepted with ID: {bytes(handle.goal_id.uuid).hex()}\n")
        answer = self._result(handle.get_result_async(), interruptible=True)
        print(f"Result:\n{_indented(answer.result)}")
        print(f"Goal finished with status: {_STATUS.get(answer.status, 'UNKNOWN')}")
        return 0

    def _wait_for_server(self) -> None:
        hinted = False
        waited = 0.0
        while not self._client.wait_for_server(timeout_sec=_SPIN_S):
            waited += _SPIN_S
            if waited >= _HINT_AFTER_S and not hinted:
                hinted = True
                known = get_action_names_and_types(self._node)
                reason = not_there("action", self._args.action_name, self._args.action_type, known)
                print(f"still waiting; {reason}", file=sys.stderr)

    def _result(self, future: Any, timeout_s: float | None = None, *, interruptible: bool = False) -> Any:
        waited = 0.0
        while not future.done():
            if interruptible and self._interrupted:
                raise KeyboardInterrupt
            if timeout_s is not None and waited >= timeout_s:
                raise RuntimeError(f"no answer within {timeout_s:g} s")
            self._executor.spin_once(timeout_sec=_SPIN_S)
            waited += _SPIN_S
        return future.result()

    def _print_feedback(self, message: Any) -> None:
        print(f"Feedback:\n{_indented(message.feedback)}")

    def _cancel(self) -> int | str:
        handle = self._result(self._sent, _CANCEL_TIMEOUT_S)
        if not handle.accepted or handle.status in _ENDED:
            return int(signal.SIGINT)
        print("Canceling goal...")
        response = self._result(handle.cancel_goal_async(), _CANCEL_TIMEOUT_S)
        if not any(info.goal_id == handle.goal_id for info in response.goals_canceling):
            return f"Failed to cancel goal (return code {response.return_code})"
        print("Goal canceled.")
        return int(signal.SIGINT)


VERBS = [
    Verb("info", "Print information about an action", _info, _info_arguments),
    Verb("list", "Output a list of action names", _list, _list_arguments),
    Verb("send_goal", "Send an action goal", _send_goal, _send_goal_arguments),
    Verb("type", "Print a action's type", _type, _type_arguments),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 action`."""
    add_verbs(parser, VERBS)


def main(args: argparse.Namespace) -> object:
    """Run a verb of `ros2 action`."""
    return run_verb(args)
