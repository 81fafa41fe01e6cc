"""Publishing of transforms."""

from typing import Any

from rclpy_dds.interfaces import message_class
from rclpy_dds.rclpy.node import Node
from rclpy_dds.rclpy.qos import QoSProfile

__all__ = ["TransformBroadcaster"]


class TransformBroadcaster:
    """Publishes transforms that change on ``/tf``."""

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        """
        Args:
            node: node that publishes.
            qos: quality of service; reliable, keep last 100 when None.
        """
        self.pub_tf = node.create_publisher(
            message_class("tf2_msgs/msg/TFMessage"), "/tf", qos or QoSProfile(depth=100)
        )

    def sendTransform(self, transform: Any) -> None:
        """Send a ``geometry_msgs.msg.TransformStamped`` or a list of them."""
        transforms = list(transform) if isinstance(transform, list | tuple) else [transform]
        self.pub_tf.publish(self.pub_tf.msg_type(transforms=transforms))
