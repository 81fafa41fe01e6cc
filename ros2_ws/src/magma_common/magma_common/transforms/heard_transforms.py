"""The transforms of the graph, heard into a tree."""

from __future__ import annotations

from functools import partial

from rclpy.node import Node
from tf2_msgs.msg import TFMessage

from magma_common import qos
from magma_common.foreign_subscription import LOG_PERIOD_S, ForeignSubscription
from magma_common.message_sizes import TRANSFORMS
from magma_common.transforms.transform_tree import TransformTree


def hear_transforms(node: Node, tree: TransformTree) -> None:
    """Feeds the tree from /tf and /tf_static for as long as the node lives; the log tells what is not taken."""

    def heard(static: bool, message: TFMessage) -> None:
        for item in message.transforms:
            refusal = tree.add(item, static)
            if refusal is not None:
                node.get_logger().warning(refusal, throttle_duration_sec=LOG_PERIOD_S)

    for topic, static, profile in (
        ("/tf_static", True, qos.TRANSFORMS_STATIC_ALL),
        ("/tf", False, qos.TRANSFORMS),
    ):
        ForeignSubscription(node, TFMessage, topic, partial(heard, static), profile, most_bytes=TRANSFORMS)
