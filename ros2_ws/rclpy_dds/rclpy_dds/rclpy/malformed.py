"""Counting of payloads that are not a message of their type."""

import time
from typing import TYPE_CHECKING

from rclpy_dds.interfaces.cdr import MalformedMessageError

if TYPE_CHECKING:
    from .node import Node

_WARNING_PERIOD_S = 5.0


class MalformedCounter:
    """Counts what was dropped, and says so in the node's log, but not for each one of a flood.

    Args:
        what: what is dropped, as it stands in the log: ``message on /topic``.
        node: whose log it is.
    """

    def __init__(self, what: str, node: "Node") -> None:
        self.count = 0
        self._what = what
        self._node = node
        self._warned_at = -_WARNING_PERIOD_S

    def add(self, error: MalformedMessageError) -> None:
        """Count one more, dropped because of ``error``."""
        self.count += 1
        now = time.monotonic()
        if now - self._warned_at >= _WARNING_PERIOD_S:
            self._warned_at = now
            self._node.get_logger().warning(f"Dropped a malformed {self._what} ({self.count} so far): {error}")
