"""The exceptions that rclpy defines in its C extension; code that catches them imports them from here.

The rest of that extension is rclpy's inside and does not exist.
"""

from .event_handler import UnsupportedEventTypeError
from .exceptions import InvalidHandle, NodeNameNonExistentError, RCLError, UnknownROSArgsError

__all__ = [
    "InvalidHandle",
    "NodeNameNonExistentError",
    "RCLError",
    "UnknownROSArgsError",
    "UnsupportedEventTypeError",
]


def __getattr__(name: str) -> None:
    if name.startswith("__"):
        raise AttributeError(name)
    raise NotImplementedError(f"rclpy_dds has no C extension, so that there is no _rclpy_pybind11.{name}")
