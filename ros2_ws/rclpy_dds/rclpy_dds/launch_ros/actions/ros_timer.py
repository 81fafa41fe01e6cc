"""The timer that follows ROS time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...launch.actions import TimerAction
from ..ros_adapters import get_ros_node

if TYPE_CHECKING:
    from ...launch.launch_context import LaunchContext


class ROSTimer(TimerAction):
    """Visits actions after `period` seconds of ROS time, which is simulated time after SetUseSimTime(True)."""

    def start_waiting(self, context: LaunchContext, period_s: float) -> None:
        node = get_ros_node(context)
        loop = context.asyncio_loop
        if loop is None:
            raise RuntimeError("ROSTimer can only be executed by a running LaunchService")

        def elapsed() -> None:
            timer.cancel()
            loop.call_soon_threadsafe(self.set_elapsed)

        timer = node.create_timer(period_s, elapsed)
