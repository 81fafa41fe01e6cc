"""`ros2 doctor`: checks of this machine's settings and of the graph, with what to do about what is wrong.

The stock tool looks at an installation; this one looks at what makes nodes of rclpy_dds meet, or not meet, others.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import Any, NamedTuple

from .._dds import config, names
from .._dds.graph import Endpoint
from .._dds.vendors import CYCLONE_DDS, FAST_DDS, vendor
from .._finder import prefixes
from ..interfaces import store
from ..interfaces.definition import DefinitionError
from ..rclpy.qos import QoSCompatibility, qos_check_compatible
from .graph import add_graph_arguments, joined_graph, node_names

OK, WARNING, ERROR = "ok", "WARNING", "ERROR"
# Longer than other commands wait: what is said to be missing must not only be slow.
_SPIN_TIME_S = 1.5
_OTHER_RANGE = {"LOCALHOST": "SUBNET", "SUBNET": "LOCALHOST"}
_OTHER_RANGE_TIMEOUT_S = 20.0


class Finding(NamedTuple):
    """One line of the answer."""

    level: str
    topic: str
    text: str


def settings() -> Iterator[Finding]:
    """What can be said without joining the graph."""
    versions = []
    for distribution in ("rclpy-dds", "cyclonedds", "rosbags", "numpy"):
        try:
            versions.append(f"{distribution} {version(distribution)}")
        except PackageNotFoundError:
            yield Finding(ERROR, "versions", f"{distribution} is not installed: pip install {distribution}")
    yield Finding(OK, "versions", f"Python {platform.python_version()} on {platform.machine()}, {', '.join(versions)}")
    yield Finding(OK, "domain", f"ROS_DOMAIN_ID is {config.domain_id()}, messages of ROS_DISTRO {store.distro()}")
    yield _reach()
    yield _receive_buffer()
    rmw = os.environ.get("RMW_IMPLEMENTATION", "")
    if rmw and rmw != "rmw_cyclonedds_cpp":
        yield Finding(
            WARNING,
            "middleware",
            f"RMW_IMPLEMENTATION is {rmw}, which rclpy_dds does not use; stock nodes with it have topics in common "
            "with us, but no services, parameters and actions: export RMW_IMPLEMENTATION=rmw_cyclonedds_cpp for them",
        )
    found = store.packages()
    folders = [str(folder) for folder in prefixes()]
    yield Finding(OK, "messages", f"definitions of {len(found)} packages; own ones are looked for in {folders}")


def _reach() -> Finding:
    uri = os.environ.get("CYCLONEDDS_URI", "").strip()
    if uri:
        return Finding(
            WARNING,
            "reach",
            f"CYCLONEDDS_URI is set ({uri[:60]}), so none of rclpy_dds' own settings are in force, for large messages "
            "neither; unset it unless you need it",
        )
    chosen = config.discovery_range()
    meaning = {
        "LOCALHOST": "nodes of this machine only; ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET reaches other machines",
        "SUBNET": "nodes of this network",
        "OFF": "no other process at all",
        "SYSTEM_DEFAULT": "as Cyclone DDS does by itself",
    }[chosen]
    try:
        peers = config.static_peers()
    except ValueError as error:
        return Finding(ERROR, "reach", str(error))
    return Finding(OK, "reach", f"{chosen}: {meaning}" + (f"; peers {', '.join(peers)}" if peers else ""))


def _receive_buffer() -> Finding:
    limit = config.receive_buffer_limit()
    if limit is None:
        return Finding(OK, "receive buffer", "the kernel's limit cannot be read here")
    if limit < config.RECEIVE_BUFFER_BYTES:
        return Finding(
            WARNING,
            "receive buffer",
            f"net.core.rmem_max is {limit} bytes, so images will be late or lost: "
            f"sudo sysctl -w net.core.rmem_max={config.RECEIVE_BUFFER_BYTES}",
        )
    return Finding(OK, "receive buffer", f"net.core.rmem_max is {limit} bytes")


def _buffer_of_fast_dds() -> Iterator[Finding]:
    text = config.fast_dds_buffer_advice()
    if text is not None:
        yield Finding(WARNING, "receive buffer", text)


def other_range(found: Collection[str]) -> Iterator[Finding]:
    """Nodes that are there for the other discovery range only: their settings and ours do not meet.

    Args:
        found: fully qualified names of the nodes in reach.
    """
    chosen = config.discovery_range()
    other = _OTHER_RANGE.get(chosen)
    if other is None or os.environ.get("CYCLONEDDS_URI", "").strip():
        return
    environment = {name: value for name, value in os.environ.items() if name != "ROS_LOCALHOST_ONLY"}
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = other
    command = [sys.executable, "-m", "rclpy_dds.cli.main", "node", "list", "--spin-time", str(_SPIN_TIME_S)]
    try:
        said = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=_OTHER_RANGE_TIMEOUT_S,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return  # such as a machine without a network
    missing = sorted(set(said.split()) - set(found))
    if missing:
        yield Finding(
            WARNING,
            "reach",
            f"{', '.join(missing)}: in reach with ROS_AUTOMATIC_DISCOVERY_RANGE={other} only, while {chosen} is in "
            "force here (stock ROS 2 takes SUBNET when nothing is set, rclpy_dds LOCALHOST); set it to the same value "
            "on both sides",
        )


def graph(node: Any) -> Iterator[Finding]:
    """What can be said about the nodes in reach."""
    view = node.context.graph
    own = node.context.participant.guid
    participants = view.participants()
    endpoints = [endpoint for endpoint in view.endpoints() if endpoint.participant != own]
    vendors = Counter(vendor(participant) for participant in participants)
    found = [entry.full_name for entry in node_names(node)]
    if not participants:
        yield Finding(WARNING, "peers", "no other participant is in reach; are they running, with the same domain?")
        return
    described = ", ".join(f"{count} with {name}" for name, count in vendors.items())
    yield Finding(OK, "peers", f"{sum(vendors.values())} participants ({described}), {len(found)} nodes")
    for name in vendors:
        if name != CYCLONE_DDS:
            who = f" ({', '.join(view.fast_dds_nodes())})" if name == FAST_DDS else ""
            yield Finding(
                WARNING,
                "middleware",
                f"a peer uses {name}{who}: topics can work, services, parameters and actions cannot, because it sends "
                "the ids of requests in another way; run it with RMW_IMPLEMENTATION=rmw_cyclonedds_cpp",
            )
    if FAST_DDS in vendors:
        yield from _buffer_of_fast_dds()
    for name, count in Counter(found).items():
        if count > 1:
            yield Finding(WARNING, "nodes", f"{count} nodes share the name {name}; give them different ones")
    yield from _types(endpoints)
    yield from _qualities(node, endpoints)


def _types(endpoints: list[Endpoint]) -> Iterator[Finding]:
    types: dict[str, set[str]] = {}
    hashes: dict[str, set[str]] = {}
    for endpoint in endpoints:
        topic = names.ros_topic(endpoint.topic)
        kind = names.ros_type(endpoint.type)
        if topic is not None and kind is not None:
            types.setdefault(topic, set()).add(kind)
        if kind is not None and "typehash" in endpoint.user_data:
            hashes.setdefault(kind, set()).add(endpoint.user_data["typehash"])
    for topic, kinds in sorted(types.items()):
        if len(kinds) > 1:
            yield Finding(ERROR, "types", f"topic {topic} has more than one type: {', '.join(sorted(kinds))}")
    for kind, announced in sorted(hashes.items()):
        if len(announced) > 1:
            yield Finding(
                ERROR, "types", f"nodes have different definitions of {kind}: build or install one version everywhere"
            )
    missing = sorted(kind for kinds in types.values() for kind in kinds if not _is_defined(kind))
    if missing:
        yield Finding(
            WARNING,
            "messages",
            f"topics have types that are not defined here: {', '.join(missing)}; install their packages with "
            "`rclpy-dds install`, or add their prefix to AMENT_PREFIX_PATH",
        )
    elif types:
        yield Finding(OK, "messages", f"the types of all {len(types)} topics are defined here")


def _is_defined(kind: str) -> bool:
    try:
        store.definition(kind)
    except DefinitionError:
        return False
    return True


def _qualities(node: Any, endpoints: list[Endpoint]) -> Iterator[Finding]:
    for topic in sorted({endpoint.topic for endpoint in endpoints}):
        name = names.ros_topic(topic)
        if name is None:
            continue
        publishers = node.get_publishers_info_by_topic(name)
        subscriptions = node.get_subscriptions_info_by_topic(name)
        for publisher, subscription in product(publishers, subscriptions):
            compatible, reason = qos_check_compatible(publisher.qos_profile, subscription.qos_profile)
            if compatible == QoSCompatibility.ERROR:
                yield Finding(
                    ERROR,
                    "quality of service",
                    f"on {name}, {subscription.node_name} asks for more than {publisher.node_name} offers: {reason}",
                )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ros2 doctor`."""
    add_graph_arguments(parser, _SPIN_TIME_S)
    parser.add_argument("-r", "--report", action="store_true", help="Print also what is in order")
    parser.add_argument(
        "-rf", "--report-failed", action="store_true", help="Print only what is not in order (this is the default)"
    )
    parser.add_argument("-iw", "--include-warnings", action="store_true", help="Count warnings as failed checks")


def main(args: argparse.Namespace) -> int:
    """Run the checks; the status is 1 when one failed."""
    findings = list(settings())
    if not any(finding.level == ERROR for finding in findings):
        with joined_graph(args) as node:
            findings += list(graph(node))
            found = [entry.full_name for entry in node_names(node)]
        findings += list(other_range(found))
    failed = sum(finding.level == ERROR for finding in findings)
    warnings = sum(finding.level == WARNING for finding in findings)
    for finding in findings:
        if finding.level != OK:
            print(f"{finding.level}: {finding.topic}: {finding.text}", file=sys.stderr)
        elif args.report:
            print(f"{finding.level}: {finding.topic}: {finding.text}")
    if args.include_warnings:
        failed += warnings
    if failed:
        print(f"\n{failed} of {len(findings)} checks failed")
        return 1
    noted = f" ({warnings} warnings)" if warnings else ""
    print(f"\nAll {len(findings)} checks passed{noted}")
    return 0
