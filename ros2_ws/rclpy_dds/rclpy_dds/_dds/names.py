"""ROS names to DDS names and back (https://design.ros2.org/articles/topic_and_service_names.html)."""

TOPIC, REQUEST, REPLY = "rt", "rq", "rr"


def dds_type(interface: str) -> str:
    """``pkg/msg/Name`` -> ``pkg::msg::dds_::Name_``."""
    package, kind, name = interface.split("/")
    return f"{package}::{kind}::dds_::{name}_"


def ros_type(type_name: str) -> str | None:
    """``pkg::msg::dds_::Name_`` -> ``pkg/msg/Name``; None for a type that is not a ROS type."""
    parts = type_name.split("::")
    if len(parts) != 4 or parts[2] != "dds_" or not parts[3].endswith("_"):
        return None
    return f"{parts[0]}/{parts[1]}/{parts[3][:-1]}"


def dds_topic(name: str, plain: bool = False) -> str:
    """DDS topic of a ROS topic; ``plain`` leaves out the prefix."""
    return name if plain else TOPIC + name


def request_topic(service: str) -> str:
    """DDS topic of a service's requests."""
    return f"{REQUEST}{service}Request"


def reply_topic(service: str) -> str:
    """DDS topic of a service's replies."""
    return f"{REPLY}{service}Reply"


def ros_topic(topic: str) -> str | None:
    """ROS topic of a DDS topic; None when it is not one."""
    return topic[2:] if topic.startswith("rt/") else None


def ros_service(topic: str) -> str | None:
    """ROS service of a DDS topic; None when it is not one."""
    if topic.startswith("rq/") and topic.endswith("Request"):
        return topic[2 : -len("Request")]
    if topic.startswith("rr/") and topic.endswith("Reply"):
        return topic[2 : -len("Reply")]
    return None


def ros_service_type(type_name: str) -> str | None:
    """``pkg::srv::dds_::Name_Request_`` -> ``pkg/srv/Name``; None when it is not a half of a service."""
    name = ros_type(type_name)
    if name is None:
        return None
    for suffix in ("_Request", "_Response"):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return None
