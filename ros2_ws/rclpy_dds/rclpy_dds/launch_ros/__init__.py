"""ROS 2's `launch_ros`, as far as launch files of Python nodes need it."""

from ..launch import unsupported
from . import actions, descriptions, parameter_descriptions, substitutions

__all__ = ["actions", "descriptions", "parameter_descriptions", "substitutions"]

__getattr__ = unsupported.not_covered("launch_ros", ["event_handlers", "events", "ros_adapters"])
