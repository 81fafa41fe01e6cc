"""Which actions there are."""

from ..node import Node
from .names import actions_of_topics


def get_action_client_names_and_types_by_node(
    node: Node, remote_node_name: str, remote_node_namespace: str
) -> list[tuple[str, list[str]]]:
    """Return the actions that a node has clients of.

    Raises:
        NodeNameNonExistentError: no such node.
    """
    return actions_of_topics(node.get_subscriber_names_and_types_by_node(remote_node_name, remote_node_namespace))


def get_action_server_names_and_types_by_node(
    node: Node, remote_node_name: str, remote_node_namespace: str
) -> list[tuple[str, list[str]]]:
    """Return the actions that a node serves.

    Raises:
        NodeNameNonExistentError: no such node.
    """
    return actions_of_topics(node.get_publisher_names_and_types_by_node(remote_node_name, remote_node_namespace))


def get_action_names_and_types(node: Node) -> list[tuple[str, list[str]]]:
    """Return all actions with their types."""
    return actions_of_topics(node.get_topic_names_and_types())
