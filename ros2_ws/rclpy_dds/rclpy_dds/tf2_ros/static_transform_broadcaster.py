"""Publishing of transforms that never change."""

from typing import Any

from rclpy_dds.interfaces import message_class
from rclpy_dds.rclpy.node import Node
from rclpy_dds.rclpy.qos import DurabilityPolicy, QoSProfile

__all__ = ["StaticTransformBroadcaster"]


class StaticTransformBroadcaster:
    """Publishes transforms on ``/tf_static``, where who comes later gets them as well."""

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        """
        Args:
            node: node that publishes.
            qos: quality of service; reliable, transient local, keep last 1 when None.
        """
        kind = message_class("tf2_msgs/msg/TFMessage")
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.pub_tf = node.create_publisher(kind, "/tf_static", qos or latched)
        self.net_message = kind()

    def sendTransform(self, transform: Any) -> None:
        """Send a ``geometry_msgs.msg.TransformStamped`` or a list of them, together with those sent before.

        A later transform to the same child frame replaces the earlier one.
        """
        transforms = list(transform) if isinstance(transform, list | tuple) else [transform]
        by_child = {entry.child_frame_id: entry for entry in [*self.net_message.transforms, *transforms]}
        self.net_message.transforms = list(by_child.values())
        self.pub_tf.publish(self.net_message)
