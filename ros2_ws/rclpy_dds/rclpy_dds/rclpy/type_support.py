"""Checks of interface classes."""

from typing import Any


class NoTypeSupportImportedException(Exception):
    """A class is not an interface class."""


def interface_name(cls: Any, kind: str) -> str:
    """Return ``pkg/msg/Name`` of an interface class.

    Args:
        cls: class from a ``.msg`` or ``.srv`` module.
        kind: ``msg`` or ``srv``, for the error text.

    Raises:
        NoTypeSupportImportedException: not an interface class of this kind.
    """
    name = getattr(cls, "interface_name", "")
    is_service = hasattr(cls, "Request") and hasattr(cls, "Response")
    if isinstance(cls, type) and isinstance(name, str) and name.count("/") == 2 and is_service == (kind == "srv"):
        return name
    raise NoTypeSupportImportedException(f"{cls!r} is not a {'service' if kind == 'srv' else 'message'} class")


def check_for_type_support(msg_or_srv_type: Any) -> None:
    """Raise when a class is not an interface class."""
    if not getattr(msg_or_srv_type, "interface_name", ""):
        raise NoTypeSupportImportedException(f"{msg_or_srv_type!r} is not an interface class")


def check_is_valid_msg_type(msg_type: Any) -> None:
    """Raise RuntimeError when a class is not a message class."""
    try:
        interface_name(msg_type, "msg")
    except NoTypeSupportImportedException as error:
        raise RuntimeError(f"The message type provided is not valid ({msg_type}), {error}") from None


def check_is_valid_srv_type(srv_type: Any) -> None:
    """Raise RuntimeError when a class is not a service class."""
    try:
        interface_name(srv_type, "srv")
    except NoTypeSupportImportedException as error:
        raise RuntimeError(f"The service type provided is not valid ({srv_type}), {error}") from None


def check_is_valid_action_type(action_type: Any) -> None:
    """Raise RuntimeError when a class is not an action class."""
    name = getattr(action_type, "interface_name", "")
    parts = ("Goal", "Result", "Feedback", "Impl")
    if not isinstance(name, str) or not name or not all(hasattr(action_type, part) for part in parts):
        raise RuntimeError(f"The action type provided is not valid ({action_type})")
