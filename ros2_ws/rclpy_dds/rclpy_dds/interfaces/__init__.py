"""ROS 2 interfaces: definitions, type hashes, generated classes and their serialisation."""

from typing import Any

from .definition import DefinitionError
from .message import Message, message_class
from .service import action_class, service_class

__all__ = ["DefinitionError", "Message", "action_class", "get_interface", "message_class", "service_class"]


def get_interface(name: str) -> Any:
    """Return the class for a full interface name such as ``std_msgs/msg/String`` or ``std_srvs/srv/Trigger``.

    Raises:
        DefinitionError: not such a name, or no definition.
    """
    kind = name.split("/")[1] if name.count("/") == 2 else ""
    if kind == "srv":
        return service_class(name)
    if kind == "action":
        return action_class(name)
    return message_class(name)
