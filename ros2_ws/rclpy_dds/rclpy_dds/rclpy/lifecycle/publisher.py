"""Publishers of lifecycle nodes."""

from typing import Any

from ..publisher import Publisher
from .managed_entity import SimpleManagedEntity


class LifecyclePublisher(SimpleManagedEntity, Publisher):
    """A publisher that sends only while its node is active; made by ``create_lifecycle_publisher``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        SimpleManagedEntity.__init__(self)
        Publisher.__init__(self, *args, **kwargs)

    @SimpleManagedEntity.when_enabled
    def publish(self, msg: Any) -> None:
        """Send a message, if the node is active; see :meth:`rclpy.publisher.Publisher.publish`."""
        Publisher.publish(self, msg)
