"""Lifecycle nodes: not covered yet; asking for one is a clear error."""

from typing import Any


class LifecycleNode:
    """Would be a node with managed states."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        raise NotImplementedError("rclpy_dds has no lifecycle nodes yet (LifecycleNode)")


Node = LifecycleNode

__all__ = ["LifecycleNode", "Node"]
