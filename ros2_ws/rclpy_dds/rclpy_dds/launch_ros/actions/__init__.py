"""Actions that concern ROS nodes."""

from ...launch import unsupported
from .node import Node
from .scopes import (
    PushROSNamespace,
    PushRosNamespace,
    SetParameter,
    SetParametersFromFile,
    SetRemap,
    SetUseSimTime,
)

__all__ = [
    "Node",
    "PushROSNamespace",
    "PushRosNamespace",
    "SetParameter",
    "SetParametersFromFile",
    "SetRemap",
    "SetUseSimTime",
]

__getattr__ = unsupported.not_covered(
    "launch_ros.actions",
    [
        "ComposableNodeContainer",
        "LifecycleNode",
        "LifecycleTransition",
        "LoadComposableNodes",
        "ROSTimer",
        "RosTimer",
        "SetROSLogDir",
    ],
)
