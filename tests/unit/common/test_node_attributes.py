"""No node of ours overwrites what rclpy's Node keeps under a private name.

Python would not complain, and the node would fail only with the rclpy that happens to use that name.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "ros2_ws" / "src"

# Attributes and methods of rclpy.node.Node in ROS 2 Humble to Rolling (rclpy/rclpy/node.py).
OF_RCLPY = set(
    [
        "_allow_undeclared_parameters",
        "_clients",
        "_clock",
        "_context",
        "_default_callback_group",
        "_descriptors",
        "_guards",
        "_logger",
        "_logger_service",
        "_on_set_parameters_callbacks",
        "_parameter_event_publisher",
        "_parameter_overrides",
        "_parameter_service",
        "_parameters",
        "_post_set_parameters_callbacks",
        "_pre_set_parameters_callbacks",
        "_publishers",
        "_rate_group",
        "_services",
        "_subscriptions",
        "_time_source",
        "_timers",
        "_type_description_service",
        "context",
        "handle",
        "executor",
        "publishers",
        "subscriptions",
        "clients",
        "services",
        "timers",
        "guards",
        "waitables",
        "default_callback_group",
        "_apply_descriptor",
        "_apply_descriptors",
        "_set_parameters_atomically",
        "_validate_topic_or_service_name",
        "_wake_executor",
    ]
)


def node_classes():
    for path in sorted(SOURCE.rglob("*.py")):
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Node" for b in item.bases):
                yield pytest.param(item, id=item.name)


@pytest.mark.parametrize("node_class", node_classes())
def test_no_private_name_of_rclpy_is_taken(node_class):
    taken = {item.name for item in node_class.body if isinstance(item, ast.FunctionDef)}
    for item in ast.walk(node_class):
        if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store) and isinstance(item.value, ast.Name):
            taken.add(item.attr)
    assert not taken & OF_RCLPY
