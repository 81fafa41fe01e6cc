"""`ros2 lifecycle`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions, GetState

from .graph import (
    DISCOVERY_TIMEOUT_S,
    NodeName,
    add_graph_arguments,
    call_service,
    find_node,
    joined_graph,
    node_names,
    wait_until,
)
from .verbs import Verb, add_verbs, run_verb


def _managed(node: Any, include_hidden: bool) -> list[NodeName]:
    """Return the nodes with a life cycle: those that can be asked for their state."""
    services = dict(node.get_service_names_and_types())
    return [
        entry
        for entry in node_names(node, include_hidden)
        if "lifecycle_msgs/srv/GetState" in services.get(f"{entry.full_name}/get_state", [])
    ]


def _find(node: Any, args: argparse.Namespace) -> NodeName:
    found = find_node(node, args.node_name, args.spin_time + DISCOVERY_TIMEOUT_S)
    if isinstance(found, str):
        known = ", ".join(entry.full_name for entry in _managed(node, False))
        raise RuntimeError(f"Node not found: {found}" + (f". With a life cycle: {known}" if known else ""))
    if not wait_until(lambda: found in _managed(node, True), DISCOVERY_TIMEOUT_S):
        others = ", ".join(entry.full_name for entry in _managed(node, False)) or "none"
        raise RuntimeError(f"Node {found.full_name} has no life cycle; nodes that have one: {others}")
    return found


def _nodes_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("-a", "--all", action="store_true", help="Display all nodes even hidden ones")
    parser.add_argument("-c", "--count-nodes", action="store_true", help="Only display the number of nodes discovered")


def _nodes(args: argparse.Namespace) -> None:
    with joined_graph(args) as node:
        names = sorted({entry.full_name for entry in _managed(node, args.all)})
    if args.count_nodes:
        print(len(names))
        return
    for name in names:
        print(name)


def _node_arguments(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    add_graph_arguments(parser)
    parser.add_argument("node_name", nargs="?" if optional else None, help="Name of the ROS node")
    parser.add_argument("--include-hidden-nodes", action="store_true", help="Consider hidden nodes as well")


def _get_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser, optional=True)


def _get(args: argparse.Namespace) -> None:
    with joined_graph(args, wait=not args.node_name) as node:
        targets = [_find(node, args)] if args.node_name else _managed(node, args.include_hidden_nodes)
        for target in targets:
            state = call_service(node, target, GetState, "get_state", GetState.Request()).current_state
            prefix = "" if args.node_name else f"{target.full_name}: "
            print(f"{prefix}{state.label} [{state.id}]")


def _transitions(node: Any, target: NodeName, service: str) -> list[Any]:
    request = GetAvailableTransitions.Request()
    return list(call_service(node, target, GetAvailableTransitions, service, request).available_transitions)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("-a", "--all", action="store_true", help="Display all existing transitions")


def _list(args: argparse.Namespace) -> None:
    with joined_graph(args, wait=False) as node:
        service = "get_transition_graph" if args.all else "get_available_transitions"
        for entry in _transitions(node, _find(node, args), service):
            print(f"- {entry.transition.label} [{entry.transition.id}]")
            print(f"\tStart: {entry.start_state.label}\n\tGoal: {entry.goal_state.label}")


def _set_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("transition", help="The lifecycle transition")


def _set(args: argparse.Namespace) -> int | str:
    with joined_graph(args, wait=False) as node:
        target = _find(node, args)
        available = [entry.transition for entry in _transitions(node, target, "get_available_transitions")]
        chosen = next((entry for entry in available if args.transition in (entry.label, str(entry.id))), None)
        if chosen is None:
            lines = "".join(f"\n- {entry.label} [{entry.id}]" for entry in available)
            return f"Unknown transition requested, available ones are:{lines}"
        request = ChangeState.Request(transition=chosen)
        if not call_service(node, target, ChangeState, "change_state", request).success:
            print("Transitioning failed", file=sys.stderr)
            return 1
    print("Transitioning successful")
    return 0


VERBS = [
    Verb("get", "Get lifecycle state for one or more nodes", _get, _get_arguments),
    Verb("list", "Output a list of available transitions", _list, _list_arguments),
    Verb("nodes", "Output a list of nodes with lifecycle", _nodes, _nodes_arguments),
    Verb("set", "Trigger lifecycle state transition", _set, _set_arguments),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 lifecycle`."""
    add_verbs(parser, VERBS)


def main(args: argparse.Namespace) -> object:
    """Run a verb of `ros2 lifecycle`."""
    return run_verb(args)
