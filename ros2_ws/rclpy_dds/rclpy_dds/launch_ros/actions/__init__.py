"""Actions that concern ROS nodes."""

from ...launch import unsupported
from .lifecycle import LifecycleNode, LifecycleTransition
from .node import Node
from .ros_timer import ROSTimer
from .scopes import (
    PushROSNamespace,
    PushRosNamespace,
    SetParameter,
    SetParametersFromFile,
    SetRemap,
    SetROSLogDir,
    SetUseSimTime,
)

# ROS 2 has both spellings.
RosTimer = ROSTimer

__all__ = [
    "LifecycleNode",
    "LifecycleTransition",
    "Node",
    "PushROSNamespace",
    "PushRosNamespace",
    "ROSTimer",
    "RosTimer",
    "SetParameter",
    "SetParametersFromFile",
    "SetROSLogDir",
    "SetRemap",
    "SetUseSimTime",
]

__getattr__ = unsupported.not_covered("launch_ros.actions", ["ComposableNodeContainer", "LoadComposableNodes"])
