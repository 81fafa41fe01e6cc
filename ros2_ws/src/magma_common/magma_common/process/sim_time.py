"""A node that was told to follow /clock says so when nobody publishes it."""

from __future__ import annotations

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from magma_common.process.clocks import NO_CLOCK

LOOK_PERIOD_S = 3.0
REPEAT_S = 30.0


def watch_sim_time(node: Node) -> None:
    """Logs a warning, and repeats it, while the node waits for a /clock that does not come."""
    if not node.get_parameter("use_sim_time").value:
        return
    steady = Clock(clock_type=ClockType.STEADY_TIME)

    def look() -> None:
        if node.get_clock().now().nanoseconds == 0:
            node.get_logger().warning(
                f"{NO_CLOCK}: start what publishes it, or leave use_sim_time away",
                throttle_duration_sec=REPEAT_S,
                throttle_time_source_type=steady,
            )

    node.create_timer(LOOK_PERIOD_S, look, clock=steady)
