"""Who can reach a graph, as far as the environment tells. No ROS."""

from __future__ import annotations

from collections.abc import Mapping

_YES = frozenset({"1", "true"})


def unauthenticated_reach(environment: Mapping[str, str]) -> str | None:
    """What to say when other machines can take part and nobody is asked who they are; None when neither holds.

    Args:
        environment: of the process; the variables of ROS 2 Jazzy, and ROS_LOCALHOST_ONLY of Humble.
    """

    def value(name: str) -> str:
        return environment.get(name, "").strip()

    if value("ROS_SECURITY_ENABLE").lower() == "true" and value("ROS_SECURITY_STRATEGY").lower() == "enforce":
        return None
    reach = value("ROS_AUTOMATIC_DISCOVERY_RANGE").upper()
    if value("ROS_LOCALHOST_ONLY").lower() in _YES:
        return None
    if not reach:
        # Of an installed ROS 2, which its set-up file names here; without one the graph stays on this machine.
        reach = "SUBNET" if value("ROS_DISTRO") else "LOCALHOST"
    peers = value("ROS_STATIC_PEERS")
    if reach == "OFF" or (reach == "LOCALHOST" and not peers):
        return None
    whom = f"the machines {peers}" if reach == "LOCALHOST" else "every machine in this network"
    return (
        f"{whom} can command this robot, and nobody is authenticated: use a network of the robot's own, SROS 2 "
        "(docs/network.md), or ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
    )
