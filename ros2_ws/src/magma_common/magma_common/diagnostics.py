"""One node's line in /diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from magma_common.qos import DIAGNOSTICS

OK = DiagnosticStatus.OK
WARN = DiagnosticStatus.WARN
ERROR = DiagnosticStatus.ERROR

PERIOD_S = 1.0
"""As the ROS diagnostic aggregator expects; a status older than a few seconds counts as stale there."""


def name_in(namespace: str, status_name: str) -> str | None:
    """The name of a status without the namespace that it was told from; None for one of another namespace.

    Args:
        namespace: as nodes tell it, beginning with a slash.
        status_name: as published: a node's name, what a driver's task is called after a colon, and before both the
            namespace, if there is one.
    """
    inside = namespace.strip("/")
    name = status_name.lstrip("/")
    if inside:
        if not name.startswith(f"{inside}/"):
            return None
        name = name[len(inside) + 1 :]
    return None if "/" in name.partition(":")[0] else name


@dataclass(frozen=True)
class Report:
    """How a node is doing: a level (OK, WARN, ERROR), one sentence for a person, and details by name."""

    level: bytes
    message: str
    values: Mapping[str, object] = field(default_factory=dict)


class DiagnosticsPublisher:
    """Publishes what `report` returns, once per second and as soon as `update` finds another level or sentence."""

    def __init__(
        self, node: Node, report: Callable[[], Report], hardware_id: str = "", log_changes: bool = True
    ) -> None:
        """
        Args:
            node: whose name the status carries, with its namespace if it has one: `left/controller`.
            report: asked for what to publish, from the executor's thread.
            hardware_id: as in DiagnosticStatus.
            log_changes: write a line to the node's log when the level changes; False for nodes that log this anyway.
        """
        self._node = node
        self._log_changes = log_changes
        self._report = report
        self._hardware_id = hardware_id
        self._last: tuple[bytes, str] | None = None
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", DIAGNOSTICS)
        node.create_timer(PERIOD_S, self._publish)

    def update(self) -> None:
        """Publishes at once if level or sentence differ from the last ones published."""
        report = self._report()
        if (report.level, report.message) != self._last:
            self._send(report)

    def _publish(self) -> None:
        self._send(self._report())

    def _send(self, report: Report) -> None:
        if self._log_changes and (self._last is None or self._last[0] != report.level):
            # One line each: rclpy refuses a call site that changes its severity.
            log = self._node.get_logger()
            if report.level == OK:
                log.info(report.message)
            elif report.level == WARN:
                log.warning(report.message)
            else:
                log.error(report.message)
        self._last = (report.level, report.message)
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [
            DiagnosticStatus(
                level=report.level,
                name=self._node.get_fully_qualified_name().removeprefix("/"),
                message=report.message,
                hardware_id=self._hardware_id,
                values=[KeyValue(key=key, value=str(value)) for key, value in report.values.items()],
            )
        ]
        self._publisher.publish(message)
