"""Waitables: not covered; asking for one is a clear error."""

from typing import Any


class Waitable:
    """Would be an entity with its own way of waiting."""

    def __init__(self, callback_group: Any) -> None:
        raise NotImplementedError("rclpy_dds has no user-defined waitables (rclpy.waitable.Waitable)")
