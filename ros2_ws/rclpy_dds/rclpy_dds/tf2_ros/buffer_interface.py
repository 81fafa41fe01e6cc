"""What all buffers can do with stamped objects, and the registry of the types that can be transformed."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from rclpy_dds.interfaces import message_class
from rclpy_dds.rclpy.duration import Duration
from rclpy_dds.rclpy.time import Time

__all__ = [
    "BufferInterface",
    "ConvertRegistration",
    "NotImplementedException",
    "Stamped",
    "TransformRegistration",
    "TypeException",
    "convert",
]


NO_WAIT = Duration()


class TypeException(Exception):
    """A type cannot be transformed or converted: import the module that registers it, such as tf2_geometry_msgs."""

    def __init__(self, errstr: str) -> None:
        self.errstr = errstr
        super().__init__(errstr)


class NotImplementedException(Exception):
    """A buffer does not have a function."""

    def __init__(self) -> None:
        super().__init__("CanTransform or LookupTransform not implemented")


class TransformRegistration:
    """Functions that transform an object, by its type: ``function(object, transform) -> object``."""

    _functions: dict[type, Callable[[Any, Any], Any]] = {}  # noqa: RUF012 - one registry for all

    def print_me(self) -> None:
        """Print the registered types."""
        print(self._functions)

    def add(self, key: type, callback: Callable[[Any, Any], Any]) -> None:
        """Register a type."""
        self._functions[key] = callback

    def get(self, key: type) -> Callable[[Any, Any], Any]:
        """Return the function for a type.

        Raises:
            TypeException: it is not registered.
        """
        try:
            return self._functions[key]
        except KeyError:
            raise TypeException(f"Type {key!s} is not loaded or supported") from None


class ConvertRegistration:
    """Functions that convert objects to messages and back."""

    _to_msg: dict[type, Callable[[Any], Any]] = {}  # noqa: RUF012 - one registry for all
    _from_msg: dict[type, Callable[[Any], Any]] = {}  # noqa: RUF012
    _convert: dict[tuple[type, type], Callable[[Any], Any]] = {}  # noqa: RUF012

    def add_from_msg(self, key: type, callback: Callable[[Any], Any]) -> None:
        """Register how a type is made from its message."""
        self._from_msg[key] = callback

    def add_to_msg(self, key: type, callback: Callable[[Any], Any]) -> None:
        """Register how a type becomes a message."""
        self._to_msg[key] = callback

    def add_convert(self, key: tuple[type, type], callback: Callable[[Any], Any]) -> None:
        """Register a direct conversion."""
        self._convert[key] = callback

    def get_from_msg(self, key: type) -> Callable[[Any], Any]:
        """Return how a type is made from its message."""
        return self._get(self._from_msg, key)

    def get_to_msg(self, key: type) -> Callable[[Any], Any]:
        """Return how a type becomes a message."""
        return self._get(self._to_msg, key)

    def get_convert(self, key: tuple[type, type]) -> Callable[[Any], Any]:
        """Return a direct conversion."""
        return self._get(self._convert, key)

    @staticmethod
    def _get(functions: dict, key: Any) -> Callable[[Any], Any]:
        try:
            return functions[key]
        except KeyError:
            raise TypeException(f"Type {key!s} is not loaded or supported") from None


def convert(a: Any, b_type: type) -> Any:
    """Convert an object to another registered type; one of that type already is copied.

    Raises:
        TypeException: there is no conversion.
    """
    registration = ConvertRegistration()
    if isinstance(a, b_type):
        return deepcopy(a)
    try:
        function = registration.get_convert((type(a), b_type))
    except TypeException:
        return registration.get_from_msg(b_type)(registration.get_to_msg(type(a))(a))
    return function(a)


def Stamped(obj: Any, stamp: Any, frame_id: str) -> Any:
    """Give an object a header."""
    obj.header = message_class("std_msgs/msg/Header")(frame_id=frame_id, stamp=stamp)
    return obj


class BufferInterface:
    """Base of buffers."""

    def __init__(self) -> None:
        self.registration = TransformRegistration()

    def transform(
        self, object_stamped: Any, target_frame: str, timeout: Duration = NO_WAIT, new_type: type | None = None
    ) -> Any:
        """Transform a stamped object into a frame at its own time.

        Args:
            object_stamped: object with a header, of a registered type.
            target_frame: frame of the result.
            timeout: how long to wait for the transform.
            new_type: type of the result; that of the object when None.

        Raises:
            TransformException: the transform is not known.
            TypeException: the type is not registered.
        """
        function = self.registration.get(type(object_stamped))
        header = object_stamped.header
        transform = self.lookup_transform(target_frame, header.frame_id, Time.from_msg(header.stamp), timeout)
        result = function(object_stamped, transform)
        return result if new_type is None else convert(result, new_type)

    def transform_full(
        self,
        object_stamped: Any,
        target_frame: str,
        target_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
        new_type: type | None = None,
    ) -> Any:
        """Transform a stamped object into a frame at another time; see :meth:`lookup_transform_full`."""
        function = self.registration.get(type(object_stamped))
        header = object_stamped.header
        transform = self.lookup_transform_full(
            target_frame, target_time, header.frame_id, Time.from_msg(header.stamp), fixed_frame, timeout
        )
        result = function(object_stamped, transform)
        return result if new_type is None else convert(result, new_type)

    def lookup_transform(self, target_frame: str, source_frame: str, time: Time, timeout: Duration = NO_WAIT) -> Any:
        """To be provided by buffers."""
        raise NotImplementedException()

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
    ) -> Any:
        """To be provided by buffers."""
        raise NotImplementedException()

    def can_transform(self, target_frame: str, source_frame: str, time: Time, timeout: Duration = NO_WAIT) -> bool:
        """To be provided by buffers."""
        raise NotImplementedException()

    def can_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
    ) -> bool:
        """To be provided by buffers."""
        raise NotImplementedException()
