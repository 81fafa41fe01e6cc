"""A second node in a process, for work that nothing else there may hold up: it gets a thread of its own."""

from rclpy.node import Node


def node_beside(beside: Node, ending: str) -> Node:
    """A node with the name, namespace and context of another, and an ending to the name. It offers no parameter
    services and publishes no log."""
    name = beside.get_name() + ending
    return Node(
        name,
        namespace=beside.get_namespace(),
        context=beside.context,
        # Renaming the first node must not give both the same name.
        cli_args=["--ros-args", "-r", f"__node:={name}", "-r", f"__ns:={beside.get_namespace()}"],
        start_parameter_services=False,
        enable_rosout=False,
    )
