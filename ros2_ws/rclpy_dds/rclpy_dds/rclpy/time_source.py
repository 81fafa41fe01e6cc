"""Source of ROS time: ``/clock`` while the parameter ``use_sim_time`` is true."""

import weakref
from typing import Any

from rclpy_dds.interfaces import message_class

from .clock import ROSClock
from .clock_type import ClockType
from .parameter import Parameter
from .qos import QoSProfile, ReliabilityPolicy
from .time import Time

CLOCK_TOPIC = "/clock"
USE_SIM_TIME_NAME = "use_sim_time"


class TimeSource:
    """Sets the clocks attached to it from ``/clock``."""

    def __init__(self, *, node: Any = None) -> None:
        self._node: weakref.ReferenceType | None = None
        self._clocks: set[ROSClock] = set()
        self._subscription: Any = None
        self._last_time = Time(clock_type=ClockType.ROS_TIME)
        self._active = False
        if node is not None:
            self.attach_node(node)

    @property
    def ros_time_is_active(self) -> bool:
        """Whether clocks follow ``/clock``."""
        return self._active

    @ros_time_is_active.setter
    def ros_time_is_active(self, enabled: bool) -> None:
        if enabled == self._active:
            return
        self._active = enabled
        for clock in self._clocks:
            clock._set_ros_time_is_active(enabled)
        node = self._node() if self._node is not None else None
        if enabled and node is not None and self._subscription is None:
            self._subscription = node.create_subscription(
                message_class("rosgraph_msgs/msg/Clock"),
                CLOCK_TOPIC,
                self.clock_callback,
                QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            )
        elif not enabled and self._subscription is not None and node is not None:
            node.destroy_subscription(self._subscription)
            self._subscription = None

    def attach_node(self, node: Any) -> None:
        """Follow the node's parameter ``use_sim_time``."""
        if self._node is not None:
            self.detach_node()
        self._node = weakref.ref(node)
        if not node.has_parameter(USE_SIM_TIME_NAME):
            node.declare_parameter(USE_SIM_TIME_NAME, False)
        parameter = node.get_parameter(USE_SIM_TIME_NAME)
        if parameter.type_ is Parameter.Type.BOOL:
            self.ros_time_is_active = parameter.value
        else:
            node.get_logger().error(f"Invalid type for parameter {USE_SIM_TIME_NAME!r} {parameter.type_!r}: not bool")
        node.add_on_set_parameters_callback(self._check_parameters)
        node.add_post_set_parameters_callback(self._on_parameters_set)

    def detach_node(self) -> None:
        """Stop following the node."""
        node = self._node() if self._node is not None else None
        if self._subscription is not None and node is not None:
            node.destroy_subscription(self._subscription)
        self._subscription = None
        self._node = None

    def attach_clock(self, clock: ROSClock) -> None:
        """Set a clock from now on.

        Raises:
            ValueError: not a clock of ROS time.
        """
        if not isinstance(clock, ROSClock):
            raise ValueError("Only clocks with type ROS_TIME can be attached.")
        clock.set_ros_time_override(self._last_time)
        clock._set_ros_time_is_active(self._active)
        self._clocks.add(clock)

    def clock_callback(self, msg: Any) -> None:
        """Take the time from a message of ``/clock``."""
        self._last_time = Time.from_msg(msg.clock)
        for clock in self._clocks:
            clock.set_ros_time_override(self._last_time)

    def _check_parameters(self, parameters: list[Parameter]) -> Any:
        result = message_class("rcl_interfaces/msg/SetParametersResult")(successful=True)
        for parameter in parameters:
            if parameter.name == USE_SIM_TIME_NAME and parameter.type_ is not Parameter.Type.BOOL:
                result.successful = False
                result.reason = f"{USE_SIM_TIME_NAME} parameter set to something besides a bool"
        return result

    def _on_parameters_set(self, parameters: list[Parameter]) -> None:
        for parameter in parameters:
            if parameter.name == USE_SIM_TIME_NAME:
                self.ros_time_is_active = parameter.value
