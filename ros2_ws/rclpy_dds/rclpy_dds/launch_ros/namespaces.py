"""Rules by which namespaces of groups and nodes are joined, and names checked."""

from __future__ import annotations

import re

# ROS 2 names (design.ros2.org, topic_and_service_names): tokens of letters, digits and underscores.
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def prefix_namespace(base: str | None, namespace: str | None) -> str | None:
    """Return `namespace` below `base` if it is relative, by itself if it is absolute; no slash at the end."""
    if namespace is None:
        joined = base
    elif not base or namespace.startswith("/"):
        joined = namespace
    else:
        joined = f"{base.rstrip('/')}/{namespace}"
    if joined is None:
        return None
    return joined.rstrip("/") or "/"


def absolute(namespace: str | None) -> str | None:
    """Return the namespace with a slash in front."""
    return namespace if namespace is None or namespace.startswith("/") else "/" + namespace


def check_node_name(name: str) -> None:
    """Raise ValueError unless `name` is a valid node name."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(
            f"node name '{name}' is invalid: it must consist of letters, digits and underscores and not begin with a "
            "digit; a namespace goes into namespace="
        )


def check_namespace(namespace: str) -> None:
    """Raise ValueError unless `namespace` is a valid absolute namespace."""
    if namespace != "/" and not all(_TOKEN.fullmatch(token) for token in namespace[1:].split("/")):
        raise ValueError(
            f"namespace '{namespace}' is invalid: its parts must consist of letters, digits and underscores and not "
            "begin with a digit"
        )
