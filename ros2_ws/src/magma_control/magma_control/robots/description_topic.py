"""A robot's description for a node: from a file, or from the topic on which robot_state_publisher latches it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String

from magma_common import qos
from magma_common.foreign_subscription import ForeignSubscription
from magma_contracts.errors import ConfigError
from magma_control.robots.robot_config import DescriptionSection
from magma_control.robots.robot_description import RobotDescription, description_from_text, read_description, topic_of

MOST_BYTES = 32 * 2**20
"""Of a description: with whole meshes in it, and no more."""


class AwaitedError(ConfigError):
    """Something that is still to come, such as the robot's description."""


class DescriptionTopic:
    """The text of a robot's description, from a file, or from the topic on which it is latched."""

    def __init__(self, node: Node, on_change: Callable[[], None]) -> None:
        """
        Args:
            on_change: called when a text came that is not the one before.
        """
        self._node = node
        self._on_change = on_change
        self._topic: str | None = None
        self._text: str | None = None
        self._subscription: Any = None

    def listen(self, section: DescriptionSection) -> None:
        """Subscribes, if the description comes by a topic."""
        topic = topic_of(section)
        if topic == self._topic:
            return
        self.close()
        self._topic = topic
        if topic is not None:
            self._subscription = ForeignSubscription(
                self._node,
                String,
                topic,
                self._on_text,
                qos.STATE,
                most_bytes=MOST_BYTES,
                on_refused=lambda why: self._node.get_logger().error(f"robot description: {why}"),
            )

    def read(self, section: DescriptionSection) -> RobotDescription:
        """The description.

        Raises:
            AwaitedError: it comes by a topic and has not come yet.
            ConfigError: it cannot be read.
        """
        self.listen(section)
        if self._topic is None:
            return read_description(section)
        if self._text is None:
            name = self._node.resolve_topic_name(self._topic)
            raise AwaitedError(f"waiting for the robot description on {name}: is robot_state_publisher running?")
        return description_from_text(self._text, section)

    def close(self) -> None:
        """Unsubscribes and forgets."""
        if self._subscription is not None:
            self._subscription.close()
        self._topic = self._text = self._subscription = None

    def _on_text(self, message: String) -> None:
        if message.data != self._text:
            self._text = message.data
            self._on_change()
