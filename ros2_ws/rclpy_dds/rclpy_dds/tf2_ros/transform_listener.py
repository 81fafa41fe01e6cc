"""Fills a buffer from ``/tf`` and ``/tf_static``."""

import threading
from typing import Any

from rclpy_dds.interfaces import message_class
from rclpy_dds.rclpy.callback_groups import ReentrantCallbackGroup
from rclpy_dds.rclpy.executors import SingleThreadedExecutor
from rclpy_dds.rclpy.node import Node
from rclpy_dds.rclpy.qos import DurabilityPolicy, QoSProfile

from .buffer_core import BufferCore

__all__ = ["TransformListener"]

DEFAULT_AUTHORITY = "default_authority"


class TransformListener:
    """Puts the transforms that are published into a buffer."""

    def __init__(
        self,
        buffer: BufferCore,
        node: Node,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
    ) -> None:
        """
        Args:
            buffer: buffer to fill.
            node: node that subscribes.
            spin_thread: spin the node in a thread of its own.
            qos: of ``/tf``; reliable, keep last 100 when None.
            static_qos: of ``/tf_static``; the same and transient local when None.
        """
        self.buffer = buffer
        self.node = node
        # Not the node's default group: a callback of that may be what waits for a transform.
        self.group = ReentrantCallbackGroup()
        kind = message_class("tf2_msgs/msg/TFMessage")
        self.tf_sub = node.create_subscription(
            kind, "/tf", self.callback, qos or QoSProfile(depth=100), callback_group=self.group
        )
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.tf_static_sub = node.create_subscription(
            kind, "/tf_static", self.static_callback, static_qos or latched, callback_group=self.group
        )
        self.executor: SingleThreadedExecutor | None = None
        if spin_thread:
            self.executor = SingleThreadedExecutor(context=node.context)
            self.executor.add_node(node)
            self.dedicated_listener_thread = threading.Thread(target=self.executor.spin, daemon=True)
            self.dedicated_listener_thread.start()

    def __del__(self) -> None:
        if hasattr(self, "executor"):
            self.unregister()

    def unregister(self) -> None:
        """Stop listening, and end the thread."""
        if self.executor is not None:
            self.executor.shutdown()
            if threading.current_thread() is not self.dedicated_listener_thread:
                self.dedicated_listener_thread.join(5.0)
            self.executor = None
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)

    def callback(self, data: Any) -> None:
        """Take in a message of ``/tf``."""
        for transform in data.transforms:
            self.buffer.set_transform(transform, DEFAULT_AUTHORITY)

    def static_callback(self, data: Any) -> None:
        """Take in a message of ``/tf_static``."""
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, DEFAULT_AUTHORITY)
