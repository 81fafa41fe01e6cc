"""The ROS domain that a robot graph lives in: two graphs in one would move each other's arm."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from magma_contracts.errors import ConfigError

LOOKS, LOOK_PERIOD_S = 30, 0.02
"""Nodes of the same domain are discovered within so many looks. Counted, because on a busy machine time alone passes
while nobody gets to say that he is there."""
FREE_DOMAINS = range(1, 102)
"""Where a free one is looked for: not the default, and ports below Linux' ephemeral range."""


def domain_id() -> int:
    """ROS_DOMAIN_ID, 0 when it is not set; ConfigError when it is no domain."""
    text = os.environ.get("ROS_DOMAIN_ID", "").strip()
    if text and not (text.isdecimal() and int(text) <= 232):
        raise ConfigError(f"ROS_DOMAIN_ID={text} is not a domain: give a whole number from 0 to 232 (best up to 101)")
    return int(text or 0)


@contextlib.contextmanager
def _onlooker(domain: int) -> Iterator[Node]:
    """A node of its own in a domain, which leaves the process' signals and its other nodes alone."""
    context = Context()
    # Without this program's arguments: stock rclpy would take a launch's `sim:=none` for a rule that renames.
    rclpy.init(args=[], context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = Node("onlooker", context=context, enable_rosout=False, start_parameter_services=False)
        try:
            yield node
        finally:
            node.destroy_node()
    finally:
        rclpy.shutdown(context=context)


def check_alone(names: Iterable[str], namespace: str = "/") -> None:
    """Raises ConfigError when this domain has a node already that is about to be started.

    Args:
        names: of the nodes to be started.
        namespace: of these nodes.
    """
    domain, wanted = domain_id(), set(names)
    with _onlooker(domain) as node:
        for _ in range(LOOKS):
            there = {name for name, space in node.get_node_names_and_namespaces() if space == (namespace or "/")}
            if wanted & there:
                where = "" if namespace in ("", "/") else f"{namespace.strip('/')}/"
                found = " and ".join(where + name for name in sorted(wanted & there)[:2])
                raise ConfigError(
                    f"{found} run in ROS domain {domain} already; end that launch "
                    "(one that was killed is forgotten after 10 s), or set another ROS_DOMAIN_ID or namespace:="
                )
            time.sleep(LOOK_PERIOD_S)


def _is_empty(domain: int) -> bool:
    """Whether nobody else is seen in a domain."""
    with _onlooker(domain) as node:
        for _ in range(LOOKS):
            if set(node.get_node_names()) - {"onlooker"}:
                return False
            time.sleep(LOOK_PERIOD_S)
    return True


@contextlib.contextmanager
def free_domain() -> Iterator[int]:
    """A domain in which nobody is, for as long as the block runs; no other caller on this machine gets the same.

    Raises:
        ConfigError: none was found.
    """
    candidates = random.sample(FREE_DOMAINS, len(FREE_DOMAINS))
    for domain in candidates:
        with contextlib.ExitStack() as held:
            try:
                lock = held.enter_context(Path(tempfile.gettempdir(), f"ros-domain-{domain}.lock").open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                # Taken, or another person's file.
                continue
            if _is_empty(domain):
                yield domain
                return
    raise ConfigError(f"no ROS domain of {FREE_DOMAINS.start} to {FREE_DOMAINS.stop - 1} is free; set ROS_DOMAIN_ID")
