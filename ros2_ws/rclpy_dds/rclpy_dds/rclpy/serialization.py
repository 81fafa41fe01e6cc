"""Messages to and from bytes."""

from typing import Any

from rclpy_dds.interfaces.cdr import decode, encode, join

from .type_support import interface_name


def serialize_message(message: Any) -> bytes:
    """Return the CDR stream of a message."""
    return join(encode(message, interface_name(type(message), "msg")))


def deserialize_message(serialized_message: bytes, message_type: type) -> Any:
    """Return the message of a CDR stream.

    Raises:
        MalformedMessageError: not a message of this type.
    """
    return decode(serialized_message, interface_name(message_type, "msg"))
