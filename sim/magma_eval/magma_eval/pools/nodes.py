"""Machines of a cluster, and which of them takes the next worker. No transport in here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """One machine that is there."""

    name: str
    address: str
    cores: float
    draining: bool = False
    """it is going away: nothing new begins there"""

    def __str__(self) -> str:
        return f"node {self.address} ({self.name[:8]})"


def roomiest(nodes: Mapping[str, Node], taken: Mapping[str, float], barred: Collection[str] = ()) -> str | None:
    """The machine with the most free cores for a worker, which takes one; None where there is none.

    Args:
        nodes: by name.
        taken: cores that are in use, by name.
        barred: names of machines that must not be used.
    """
    free = {
        name: node.cores - taken.get(name, 0.0)
        for name, node in nodes.items()
        if name not in barred and not node.draining
    }
    free = {name: room for name, room in free.items() if room >= 1.0}
    return max(free, key=lambda name: free[name]) if free else None
