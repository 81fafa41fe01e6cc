"""Definitions of message types, as a recording carries them so that it can be read without ours being installed."""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rclpy.serialization import deserialize_message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from magma_contracts.text import printable


class MessageError(ValueError):
    """Bytes that are no message of their type."""


@functools.cache
def _store() -> Typestore:
    """Standard definitions of the ROS 2 in use; our own packages are added as they are asked for."""
    distribution = os.environ.get("ROS_DISTRO", "jazzy").lower()
    names = {store.name.removeprefix("ROS2_").lower(): store for store in Stores if store.name.startswith("ROS2_")}
    return get_typestore(names.get(distribution, Stores.ROS2_JAZZY))


def schema_of(type_name: str) -> str:
    """The definition of a type and of all its parts, in the form of a ros2msg schema.

    Args:
        type_name: such as `sensor_msgs/msg/Image`.

    Raises:
        KeyError: no definition was found.
    """
    _register(type_name)
    text, _ = _store().generate_msgdef(type_name, ros_version=2)
    return text


def type_hash(type_name: str) -> str:
    """The RIHS01 hash of a type (REP 2016), as ROS 2 since Iron compares it."""
    _register(type_name)
    return _store().hash_rihs01(type_name)


def message_class(type_name: str) -> Any:
    """The Python class of a message type.

    Raises:
        ImportError: its package is not installed.
    """
    try:
        # A name in a file of a stranger's must not have Python import, that is run, what is no package of messages.
        _register(type_name)
        package, kind, name = type_name.split("/")
    except (KeyError, ValueError):
        raise ImportError(f"{printable(type_name, 100)!r} is no message type of an installed package") from None
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), name)
    except AttributeError:
        raise ImportError(f"package {package} has no message {name}") from None


def decoded(data: bytes, type_name: str) -> Any:
    """A serialised message as an object.

    Raises:
        ImportError: the package of its type is not installed.
        MessageError: the bytes are no such message.
    """
    kind = message_class(type_name)
    try:
        return deserialize_message(data, kind)
    except Exception as error:  # each implementation of ROS 2 raises something else of its own
        raise MessageError(f"{len(data)} bytes are no {type_name}: {printable(str(error), 200)}") from error


def _register(type_name: str) -> None:
    """Makes sure that the store knows a type: standard ones it does, others are read from their installed package."""
    store = _store()
    if type_name in store.fielddefs:
        return
    package = type_name.split("/")[0]
    try:
        folder = Path(get_package_share_directory(package)) / "msg"
    except PackageNotFoundError:
        raise KeyError(f"no definition of {type_name}: package {package} is not installed") from None
    types: dict[str, Any] = {}
    for path in sorted(folder.glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(encoding="utf-8"), f"{package}/msg/{path.stem}"))
    if type_name not in types:
        raise KeyError(f"no definition of {type_name} in {folder}")
    store.register({name: fields for name, fields in types.items() if name not in store.fielddefs})
