"""A short-lived node with which a command looks at, or takes part in, the ROS graph."""

from __future__ import annotations

import argparse
import difflib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .. import rclpy
from ..rclpy.executors import ExternalShutdownException
from ..rclpy.signals import SignalHandlerOptions

DEFAULT_SPIN_TIME_S = 0.5
# How long a command waits for a node or topic that was named, beyond the spin time.
DISCOVERY_TIMEOUT_S = 1.0
SERVICE_TIMEOUT_S = 5.0
SETTLING_TIMEOUT_S = 2.0
_POLL_S = 0.02
_ACTION_SUFFIX = "/_action/"


class NodeName(NamedTuple):
    """A node of the graph."""

    full_name: str
    name: str
    namespace: str


def add_graph_arguments(parser: argparse.ArgumentParser, spin_time_s: float = DEFAULT_SPIN_TIME_S) -> None:
    """Add the options of every command that takes part in the graph."""
    parser.add_argument(
        "--spin-time",
        type=float,
        default=spin_time_s,
        metavar="SPIN_TIME",
        help=f"Spin time in seconds to wait for discovery (default: {spin_time_s})",
    )
    parser.add_argument(
        "--no-daemon", action="store_true", help="Accepted for the stock tool's sake: there is no daemon here"
    )


@contextmanager
def joined_graph(
    args: argparse.Namespace, node_name: str | None = None, wait: bool = True, handle_signals: bool = True
) -> Iterator[Any]:
    """Yield a hidden node; with `wait`, only after the time that discovery takes.

    A Ctrl-C or SIGTERM while the command waits for messages ends it quietly; without `handle_signals` they are the
    command's own business, and the graph stays joined.
    """
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.ALL if handle_signals else SignalHandlerOptions.NO)
    try:
        node = rclpy.create_node(
            node_name or f"_ros2cli_{os.getpid()}",
            start_parameter_services=False,
            enable_rosout=False,
            parameter_overrides=[],
        )
        try:
            if wait:
                time.sleep(args.spin_time)
                # A peer that is slow to say which nodes it holds, as Fast DDS is, would be left out.
                wait_until(node.context.graph.is_settled, SETTLING_TIMEOUT_S)
            yield node
        except ExternalShutdownException:
            pass
        finally:
            node.destroy_node()
    finally:
        # Also when no node can be made, as with a peer that cannot be resolved.
        rclpy.try_shutdown()


def wait_until(condition: Callable[[], Any], timeout_s: float) -> Any:
    """Return the first true value of `condition`, or its last value after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value or time.monotonic() >= deadline:
            return value
        time.sleep(_POLL_S)


def is_hidden(name: str) -> bool:
    """Return whether a name is one that lists leave out unless asked: a part of it starts with an underscore."""
    return any(part.startswith("_") for part in name.split("/"))


def visible(names_and_types: list[tuple[str, list[str]]], include_hidden: bool) -> list[tuple[str, list[str]]]:
    """Return the (name, types) pairs to show, sorted."""
    return sorted((name, types) for name, types in names_and_types if include_hidden or not is_hidden(name))


def print_names(names: list[str], count_only: bool) -> None:
    """Print one name per line, or only how many there are."""
    if count_only:
        print(len(names))
        return
    for name in names:
        print(name)


def node_names(node: Any, include_hidden: bool = False) -> list[NodeName]:
    """Return the nodes of the graph, sorted by full name."""
    found = [
        NodeName(f"{namespace.rstrip('/')}/{name}", name, namespace)
        for name, namespace in node.get_node_names_and_namespaces()
        if include_hidden or not name.startswith("_")
    ]
    return sorted(found)


def find_node(node: Any, name: str, timeout_s: float, include_hidden: bool = True) -> NodeName | str:
    """Return the node of this full name (a leading slash may be missing), or an error message that names others."""
    wanted = name if name.startswith("/") else "/" + name

    def look() -> NodeName | None:
        return next((entry for entry in node_names(node, include_hidden) if entry.full_name == wanted), None)

    found = wait_until(look, timeout_s)
    if found is not None:
        return found
    known = [entry.full_name for entry in node_names(node)]
    return f"Unable to find node '{name}'{_alternatives(wanted, known, 'nodes')}"


def call_service(node: Any, target: NodeName, service: Any, name: str, request: Any) -> Any:
    """Call a service that belongs to a node, such as `get_parameters`. Raises RuntimeError when it does not answer."""
    if target.full_name in node.context.graph.fast_dds_nodes():
        raise RuntimeError(
            f"Node {target.full_name} runs on Fast DDS, whose services rclpy_dds cannot call; start it with "
            "RMW_IMPLEMENTATION=rmw_cyclonedds_cpp"
        )
    client = node.create_client(service, f"{target.full_name}/{name}")
    try:
        if not client.wait_for_service(timeout_sec=SERVICE_TIMEOUT_S):
            raise RuntimeError(f"Timed out waiting for service {name} of node {target.full_name}")
        future = client.call_async(request)
        rclpy.spin_until_future_complete(node, future, timeout_sec=SERVICE_TIMEOUT_S)
        if not future.done():
            raise RuntimeError(
                f"Node {target.full_name} did not answer {name} within {SERVICE_TIMEOUT_S:.0f} s; is it spinning?"
            )
        return future.result()
    finally:
        node.destroy_client(client)


def unknown_name(noun: str, name: str, known: list[str]) -> str:
    """Return the error message for a topic or service that is not there."""
    return f"Unknown {noun} '{name}'{_alternatives(name, known, noun + 's')}"


def not_there(noun: str, name: str, wanted_type: str, names_and_types: list[tuple[str, list[str]]]) -> str:
    """Return why a command waits for a service or action; its own client is among what the graph shows."""
    full_name = name if name.startswith("/") else "/" + name
    others = [kind for kind in dict(names_and_types).get(full_name, []) if kind != wanted_type]
    if others:
        return f"{noun} '{name}' has the type {' and '.join(others)}, not {wanted_type}"
    return unknown_name(noun, name, [entry for entry, _ in names_and_types if entry != full_name])


def _alternatives(name: str, known: list[str], noun: str) -> str:
    # These belong to every node, also to the command's own.
    known = [entry for entry in known if entry not in ("/parameter_events", "/rosout")]
    if not known:
        return f": no {noun} were found (is ROS_DOMAIN_ID the same there?)"
    close = difflib.get_close_matches(name, known, n=2)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    return f"; there are: {shown}"


def action_names_and_types(services: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Return the actions whose send_goal service is among the given services."""
    suffix = _ACTION_SUFFIX + "send_goal"
    return [
        (name.removesuffix(suffix), [kind.removesuffix("_SendGoal") for kind in types])
        for name, types in services
        if name.endswith(suffix)
    ]


def positive_float(text: str) -> float:
    """Argument type: a number above zero."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def positive_int(text: str) -> int:
    """Argument type: a whole number above zero."""
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def nonnegative_int(text: str) -> int:
    """Argument type: a whole number, zero or above."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value
