"""The graph's memory: what is gone does not pile up."""

from __future__ import annotations

import ctypes as ct
from collections.abc import Callable
from typing import Any

from std_msgs.msg import String

from rclpy_dds._dds.libddsc import ANY_STATE, BUILTIN_PUBLICATION, SampleInfo, load


def test_endpoints_that_are_gone_are_dropped(make_node: Callable[..., Any], context: Any) -> None:
    node = make_node("node")
    graph = context.graph

    def kept() -> int:
        limit = 1000
        pointers, infos = (ct.c_void_p * limit)(), (SampleInfo * limit)()
        reader = graph._builtin[BUILTIN_PUBLICATION]
        count = load().dds_read_mask(reader, pointers, infos, limit, limit, ANY_STATE)
        load().dds_return_loan(reader, pointers, count)
        return count

    before = kept()
    for number in range(50):
        node.destroy_publisher(node.create_publisher(String, f"t{number}", 1))
    assert kept() == before + 50
    context.maintain()
    assert kept() == before
    assert len(node.get_topic_names_and_types()) == 2


def test_a_node_that_is_dropped_leaves(make_node: Callable[..., Any], context: Any) -> None:
    from rclpy.node import Node

    watching = make_node("watching")
    node = Node("dropped", context=context)
    node.create_timer(1.0, print)
    assert "dropped" in watching.get_node_names()
    del node
    import gc

    gc.collect()
    assert watching.get_node_names() == ["watching"]


def test_two_nodes_of_one_name(make_node: Callable[..., Any]) -> None:
    one, two = make_node("same"), make_node("same")
    one.create_publisher(String, "a", 1)
    two.create_publisher(String, "b", 1)
    topics = dict(one.get_publisher_names_and_types_by_node("same", "/"))
    assert {"/a", "/b"} <= set(topics)
    two.destroy_node()
    assert one.get_node_names() == ["same"]
