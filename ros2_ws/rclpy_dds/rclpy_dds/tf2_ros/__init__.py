"""tf2: coordinate frames over time. See the README of rclpy_dds for what is covered."""

from .buffer import Buffer
from .buffer_core import BufferCore
from .buffer_interface import (
    BufferInterface,
    ConvertRegistration,
    NotImplementedException,
    Stamped,
    TransformRegistration,
    TypeException,
    convert,
)
from .exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TimeoutException,
    TransformException,
)
from .static_transform_broadcaster import StaticTransformBroadcaster
from .transform_broadcaster import TransformBroadcaster
from .transform_listener import TransformListener

__all__ = [
    "Buffer",
    "BufferCore",
    "BufferInterface",
    "ConnectivityException",
    "ConvertRegistration",
    "ExtrapolationException",
    "InvalidArgumentException",
    "LookupException",
    "NotImplementedException",
    "Stamped",
    "StaticTransformBroadcaster",
    "TimeoutException",
    "TransformBroadcaster",
    "TransformException",
    "TransformListener",
    "TransformRegistration",
    "TypeException",
    "convert",
]


def __getattr__(name: str) -> None:
    if name == "BufferClient":
        raise NotImplementedError("rclpy_dds has no tf2_ros.BufferClient: use a Buffer with a TransformListener")
    raise AttributeError(f"rclpy_dds has no tf2_ros.{name}")
