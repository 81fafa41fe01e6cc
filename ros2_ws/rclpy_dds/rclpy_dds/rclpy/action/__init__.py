"""Actions: not covered yet; asking for one is a clear error."""

from typing import Any


class ActionClient:
    """Would send goals to an action server."""

    def __init__(self, node: Any, action_type: type, action_name: str, **options: Any) -> None:
        raise NotImplementedError(f"rclpy_dds has no actions yet (ActionClient for {action_name!r})")


class ActionServer:
    """Would execute goals."""

    def __init__(self, node: Any, action_type: type, action_name: str, *arguments: Any, **options: Any) -> None:
        raise NotImplementedError(f"rclpy_dds has no actions yet (ActionServer for {action_name!r})")


__all__ = ["ActionClient", "ActionServer"]
