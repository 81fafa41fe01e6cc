"""Names of nodes, namespaces, topics, services and parameters: validation, expansion, remapping.

Rules: https://design.ros2.org/articles/topic_and_service_names.html
"""

import re

from .arguments import RemapRule
from .exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidParameterException,
    InvalidServiceNameException,
    InvalidTopicNameException,
)

NODE_NAME_MAX_LENGTH = 255
NAMESPACE_MAX_LENGTH = 245
TOPIC_MAX_LENGTH = 247


def _first_bad(name: str, allowed: str) -> int | None:
    found = re.search(f"[^{allowed}]", name)
    return found.start() if found else None


def validate_node_name(node_name: str) -> bool:
    """Return True for a valid node name.

    Raises:
        InvalidNodeNameException: it is not.
    """
    if not node_name:
        raise InvalidNodeNameException(node_name, "node name must not be empty", 0)
    index = _first_bad(node_name, "A-Za-z0-9_")
    if index is not None:
        message = "node name must not contain characters other than alphanumerics or '_'"
        raise InvalidNodeNameException(node_name, message, index)
    if node_name[0].isdigit():
        raise InvalidNodeNameException(node_name, "node name must not start with a number", 0)
    if len(node_name) > NODE_NAME_MAX_LENGTH:
        message = f"node name length should not exceed '{NODE_NAME_MAX_LENGTH}'"
        raise InvalidNodeNameException(node_name, message, NODE_NAME_MAX_LENGTH)
    return True


def validate_namespace(namespace: str) -> bool:
    """Return True for a valid, absolute namespace.

    Raises:
        InvalidNamespaceException: it is not.
    """
    if not namespace:
        raise InvalidNamespaceException(namespace, "namespace must not be empty", 0)
    if not namespace.startswith("/"):
        raise InvalidNamespaceException(namespace, "namespace must be absolute, it must lead with a '/'", 0)
    if namespace == "/":
        return True
    problem = _problem_of_full_name(namespace)
    if problem:
        message, index = problem
        raise InvalidNamespaceException(namespace, f"namespace {message}", index)
    if len(namespace) > NAMESPACE_MAX_LENGTH:
        message = f"namespace length should not exceed '{NAMESPACE_MAX_LENGTH}'"
        raise InvalidNamespaceException(namespace, message, NAMESPACE_MAX_LENGTH)
    return True


def _problem_of_full_name(name: str) -> tuple[str, int] | None:
    if name.endswith("/"):
        return "must not end with a '/'", len(name) - 1
    index = _first_bad(name, "A-Za-z0-9_/")
    if index is not None:
        return "must not contain characters other than alphanumerics, '_', or '/'", index
    index = name.find("//")
    if index >= 0:
        return "must not contain repeated '/'", index + 1
    found = re.search(r"/\d", name)
    if found:
        return "must not have a token that starts with a number", found.start() + 1
    return None


def validate_topic_name(name: str, *, is_service: bool = False) -> bool:
    """Return True for a valid topic or service name as users write them (relative, private, with substitutions).

    Raises:
        InvalidTopicNameException, InvalidServiceNameException: it is not.
    """
    error = InvalidServiceNameException if is_service else InvalidTopicNameException
    kind = "topic name"
    if not name:
        raise error(name, f"{kind} must not be empty string", 0)
    if name[0].isdigit():
        raise error(name, f"{kind} token must not start with a number", 0)
    if name.endswith("/"):
        raise error(name, f"{kind} must not end with a forward slash", len(name) - 1)
    for found in re.finditer(r"\{([^{}]*)\}|[{}]", name):
        if found[1] is None:
            raise error(name, f"{kind} has unbalanced curly braces", found.start())
        if not re.match(r"^[A-Za-z_][A-Za-z0-9_]*$", found[1]):
            raise error(name, f"{kind} has an invalid substitution", found.start())
    index = _first_bad(name, "A-Za-z0-9_/~{}")
    if index is not None:
        message = f"{kind} must not contain characters other than alphanumerics, '_', '~', '{{', or '}}'"
        raise error(name, message, index)
    if "~" in name[1:]:
        raise error(name, f"{kind} must not have tilde '~' unless it is the first character", name.index("~", 1))
    if name.startswith("~") and len(name) > 1 and name[1] != "/":
        raise error(name, f"{kind} must not have a tilde that is not followed by a forward slash '/'", 1)
    number = re.search(r"/\d", name)
    if number:
        raise error(name, f"{kind} token must not start with a number", number.start() + 1)
    if "//" in name:
        raise error(name, f"{kind} must not contain repeated '/'", name.index("//") + 1)
    if "__" in name:
        raise error(name, f"{kind} must not contain repeated '_'", name.index("__") + 1)
    return True


def validate_full_topic_name(name: str, *, is_service: bool = False) -> bool:
    """Return True for a valid absolute name.

    Raises:
        InvalidTopicNameException, InvalidServiceNameException: it is not.
    """
    error = InvalidServiceNameException if is_service else InvalidTopicNameException
    if not name.startswith("/"):
        raise error(name, "topic name must be absolute, it must lead with a '/'", 0)
    problem = _problem_of_full_name(name)
    if problem:
        message, index = problem
        raise error(name, f"topic name {message}", index)
    if len(name) > TOPIC_MAX_LENGTH:
        raise error(name, f"topic name length should not exceed '{TOPIC_MAX_LENGTH}'", TOPIC_MAX_LENGTH)
    return True


def validate_parameter_name(name: str) -> bool:
    """Return True for a valid parameter name.

    Raises:
        InvalidParameterException: it is empty.
    """
    if not name:
        raise InvalidParameterException(name)
    return True


def expand_topic_name(topic_name: str, node_name: str, node_namespace: str) -> str:
    """Return the absolute form of a name used by node ``node_namespace/node_name``.

    Raises:
        ValueError: a substitution is unknown.
    """
    namespace = node_namespace if node_namespace.startswith("/") else "/" + node_namespace
    base = "" if namespace == "/" else namespace
    values = {"node": node_name, "ns": base, "namespace": base}

    def substitute(found: re.Match) -> str:
        if found[1] not in values:
            raise ValueError(f"unknown substitution '{{{found[1]}}}' in the name {topic_name!r}")
        return values[found[1]]

    name = re.sub(r"\{(\w+)\}", substitute, topic_name)
    if name.startswith("~"):
        name = f"{base}/{node_name}{name[1:]}"
    elif not name.startswith("/"):
        name = f"{base}/{name}"
    return name


def remap_name(name: str, kind: str, rules: list[RemapRule], node_name: str, node_namespace: str) -> str:
    """Apply the first rule that matches an absolute topic (``kind="topic"``) or service name."""
    for rule in rules:
        if rule.kind not in (kind, "any") or (rule.node and rule.node != node_name):
            continue
        if expand_topic_name(rule.match, node_name, node_namespace) == name:
            return expand_topic_name(rule.replacement, node_name, node_namespace)
    return name
