"""`ros2 node`."""

from __future__ import annotations

import argparse
import sys

from .graph import (
    DISCOVERY_TIMEOUT_S,
    action_names_and_types,
    add_graph_arguments,
    find_node,
    joined_graph,
    node_names,
    visible,
)
from .verbs import Verb, add_verbs, run_verb


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("-a", "--all", action="store_true", help="Display all nodes even hidden ones")
    parser.add_argument("-c", "--count-nodes", action="store_true", help="Only display the number of nodes discovered")


def _list(args: argparse.Namespace) -> None:
    with joined_graph(args) as node:
        names = [entry.full_name for entry in node_names(node, args.all)]
    if args.count_nodes:
        print(len(names))
        return
    if len(set(names)) < len(names):
        print(
            "WARNING: Be aware that there are nodes in the graph that share an exact name, which can have unintended "
            "side effects.",
            file=sys.stderr,
        )
    for name in names:
        print(name)


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("node_name", help="Node name to request information")
    parser.add_argument(
        "--include-hidden", action="store_true", help="Display hidden topics, services, and actions as well"
    )


def _info(args: argparse.Namespace) -> str | None:
    with joined_graph(args) as node:
        found = find_node(node, args.node_name, DISCOVERY_TIMEOUT_S)
        if isinstance(found, str):
            return found
        count = sum(entry == found for entry in node_names(node, include_hidden=True))
        if count > 1:
            print(
                f'There are {count} nodes in the graph with the exact name "{found.full_name}". '
                "You are seeing information about only one of them.",
                file=sys.stderr,
            )
        who = (found.name, found.namespace)
        servers = node.get_service_names_and_types_by_node(*who)
        clients = node.get_client_names_and_types_by_node(*who)
        print(found.full_name)
        for title, names_and_types in (
            ("Subscribers", node.get_subscriber_names_and_types_by_node(*who)),
            ("Publishers", node.get_publisher_names_and_types_by_node(*who)),
            ("Service Servers", servers),
            ("Service Clients", clients),
            ("Action Servers", action_names_and_types(servers)),
            ("Action Clients", action_names_and_types(clients)),
        ):
            print(f"  {title}:")
            print(
                "\n".join(
                    f"    {name}: {', '.join(types)}" for name, types in visible(names_and_types, args.include_hidden)
                )
            )
    return None


VERBS = [
    Verb("info", "Output information about a node", _info, _info_arguments),
    Verb("list", "Output a list of available nodes", _list, _list_arguments),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 node`."""
    add_verbs(parser, VERBS)


def main(args: argparse.Namespace) -> object:
    """Run a verb of `ros2 node`."""
    return run_verb(args)
