"""`ros2 service`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

from .. import rclpy
from .graph import (
    DISCOVERY_TIMEOUT_S,
    add_graph_arguments,
    joined_graph,
    not_there,
    positive_float,
    print_names,
    unknown_name,
    visible,
    wait_until,
)
from .messages import get_interface, parse_yaml_fields, set_message_fields
from .verbs import Verb, add_verbs, run_verb

# After this long without the service the user gets to see which there are; waiting goes on.
_HINT_AFTER_S = 2.0


def _hidden_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--include-hidden-services", action="store_true", help="Consider hidden services as well")


def _count_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--count-services", action="store_true", help="Only display the number of services discovered"
    )


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("-t", "--show-types", action="store_true", help="Additionally show the service type")
    _count_argument(parser)
    _hidden_argument(parser)


def _list(args: argparse.Namespace) -> None:
    with joined_graph(args) as node:
        services = visible(node.get_service_names_and_types(), args.include_hidden_services)
    if args.count_services:
        print(len(services))
        return
    for name, types in services:
        print(f"{name} [{', '.join(types)}]" if args.show_types else name)


def _type_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("service_name", help="Name of the ROS service to get type (e.g. '/talker/list_parameters')")
    _hidden_argument(parser)


def _type(args: argparse.Namespace) -> str | None:
    with joined_graph(args, wait=False) as node:
        types = wait_until(
            lambda: dict(node.get_service_names_and_types()).get(args.service_name),
            args.spin_time + DISCOVERY_TIMEOUT_S,
        )
        if not types:
            known = [name for name, _ in visible(node.get_service_names_and_types(), False)]
            return unknown_name("service", args.service_name, known)
    for kind in types:
        print(kind)
    return None


def _find_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument(
        "service_type", help="Name of the ROS service type to filter for (e.g. 'rcl_interfaces/srv/ListParameters')"
    )
    _count_argument(parser)
    _hidden_argument(parser)


def _find(args: argparse.Namespace) -> None:
    with joined_graph(args) as node:
        services = visible(node.get_service_names_and_types(), args.include_hidden_services)
    names = [name for name, types in services if args.service_type in types]
    print_names(names, args.count_services)


def _call_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service_name", help="Name of the ROS service to call to (e.g. '/add_two_ints')")
    parser.add_argument("service_type", help="Type of the ROS service (e.g. 'std_srvs/srv/Empty')")
    values = parser.add_mutually_exclusive_group()
    values.add_argument(
        "values",
        nargs="?",
        default="{}",
        help="Values to fill the service request with in YAML format (e.g. '{a: 1, b: 2}'), otherwise the service "
        "request will be published with default values",
    )
    values.add_argument("--stdin", action="store_true", help="Read values from standard input")
    parser.add_argument(
        "-r", "--rate", metavar="N", type=positive_float, help="Repeat the call at a specific rate in Hz"
    )


def _call(args: argparse.Namespace) -> None:
    service = get_interface(args.service_type, "srv")
    request = service.Request()
    try:
        set_message_fields(request, parse_yaml_fields(sys.stdin.read() if args.stdin else args.values))
    except ValueError as error:
        raise ValueError(f"Failed to populate field: {error}") from None
    with joined_graph(args, f"_ros2cli_requester_{os.getpid()}", wait=False) as node:
        client = node.create_client(service, args.service_name)
        _wait_for_service(node, client, args)
        while rclpy.ok():
            begin = time.monotonic()
            print(f"requester: making request: {request!r}\n")
            future = client.call_async(request)
            rclpy.spin_until_future_complete(node, future)
            if not future.done():
                return
            if future.exception() is not None:
                raise RuntimeError(f"Exception while calling service: {future.exception()!r}")
            print(f"response:\n{future.result()!r}\n")
            if args.rate is None:
                return
            time.sleep(max(0.0, begin + 1.0 / args.rate - time.monotonic()))


def _wait_for_service(node: Any, client: Any, args: argparse.Namespace) -> None:
    if client.wait_for_service(timeout_sec=0.3):
        return
    print("waiting for service to become available...")
    if client.wait_for_service(timeout_sec=_HINT_AFTER_S):
        return
    known = [
        (name, types)
        for name, types in visible(node.get_service_names_and_types(), False)
        if not name.rpartition("/")[2].endswith(("parameters", "parameter_types"))
    ]
    print(f"still waiting; {not_there('service', args.service_name, args.service_type, known)}", file=sys.stderr)
    client.wait_for_service()


VERBS = [
    Verb("call", "Call a service", _call, _call_arguments),
    Verb("find", "Output a list of available services of a given type", _find, _find_arguments),
    Verb("list", "Output a list of available services", _list, _list_arguments),
    Verb("type", "Output a service's type", _type, _type_arguments),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 service`."""
    add_verbs(parser, VERBS)


def main(args: argparse.Namespace) -> object:
    """Run a verb of `ros2 service`."""
    return run_verb(args)
