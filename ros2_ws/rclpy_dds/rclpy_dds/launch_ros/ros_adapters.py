"""The ROS node of launch itself, made when an action first needs it."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

from ..launch.event_handlers import OnShutdown

if TYPE_CHECKING:
    from ..launch.launch_context import LaunchContext

_JOIN_TIMEOUT_S = 2.0


class ROSAdapter:
    """A node in a context of its own, with an executor that spins in a thread."""

    def __init__(self, *, argv: list[str] | None = None, autostart: bool = True) -> None:
        self._argv = [] if argv is None else argv
        self._context: Any = None
        self._node: Any = None
        self._executor: Any = None
        self._thread: threading.Thread | None = None
        if autostart:
            self.start()

    def start(self) -> None:
        """Make the node and spin it. Raises RuntimeError when it runs already."""
        from .. import rclpy  # most launch files need no node of launch's own, and importing takes time
        from ..rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

        if self._thread is not None:
            raise RuntimeError("Cannot start a ROS adapter that is already running")
        self._context = rclpy.Context()
        # Signals are the business of the launch service.
        rclpy.init(args=self._argv, context=self._context, signal_handler_options=rclpy.SignalHandlerOptions.NO)
        self._node = rclpy.create_node(f"launch_ros_{os.getpid()}", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

        def spin() -> None:
            with contextlib.suppress(ExternalShutdownException):
                self._executor.spin()

        self._thread = threading.Thread(target=spin, name="launch_ros", daemon=True)
        self._thread.start()

    def shutdown(self) -> None:
        """Destroy the node. Raises RuntimeError when it does not run."""
        if self._thread is None:
            raise RuntimeError("Cannot shutdown a ROS adapter that is not running")
        self._context.try_shutdown()
        self._thread.join(_JOIN_TIMEOUT_S)
        self._thread = None

    @property
    def argv(self) -> list[str]:
        """The arguments that rclpy was initialised with."""
        return self._argv

    @property
    def ros_context(self) -> Any:
        """rclpy's context."""
        return self._context

    @property
    def ros_node(self) -> Any:
        """The node."""
        return self._node

    @property
    def ros_executor(self) -> Any:
        """The executor that spins the node."""
        return self._executor


def get_ros_adapter(context: LaunchContext) -> ROSAdapter:
    """Return the adapter of a launch, made at the first call and ended with the launch."""
    if not hasattr(context.locals, "ros_adapter"):
        adapter = ROSAdapter()
        context.extend_globals({"ros_adapter": adapter})
        context.register_event_handler(OnShutdown(on_shutdown=lambda event, context: adapter.shutdown()))
    return context.locals.ros_adapter


def get_ros_node(context: LaunchContext) -> Any:
    """Return launch's own node."""
    return get_ros_adapter(context).ros_node
