"""Publishers."""

from typing import Any

from rclpy_dds._dds.libddsc import DDSError
from rclpy_dds._dds.participant import Writer
from rclpy_dds.interfaces.cdr import encode

from . import intra_process
from .callback_groups import CallbackGroup
from .duration import Duration
from .event_handler import EndpointEvents, EventHandler, PublisherEventCallbacks
from .exceptions import InvalidHandle, RCLError
from .qos import QoSProfile, endpoint_policies
from .type_support import interface_name


class Publisher:
    """Publishes messages on a topic; made by ``Node.create_publisher``. Thread-safe.

    A large numeric sequence of a message goes to the transport as it is, without a copy in Python; one that is
    immutable goes to subscriptions of the same process by reference (see :mod:`.intra_process`).
    """

    def __init__(
        self,
        writer: Writer,
        msg_type: Any,
        topic: str,
        qos_profile: QoSProfile,
        callback_group: CallbackGroup,
        node: Any,
    ) -> None:
        self._writer = writer
        self.msg_type = msg_type
        self._interface = interface_name(msg_type, "msg")
        self.topic = topic
        self.qos_profile = qos_profile
        self.callback_group = callback_group
        self._node = node
        self.event_handlers: list[EventHandler] = []
        self._events: EndpointEvents | None = None
        self._event_callbacks = PublisherEventCallbacks()
        self._context = node.context
        self._may_hand_over = intra_process.may_hand_over(endpoint_policies(qos_profile))

    @property
    def topic_name(self) -> str:
        """Fully qualified topic name."""
        return self.topic

    @property
    def handle(self) -> Writer:
        """The transport's writer."""
        return self._writer

    @property
    def logger_name(self) -> str:
        """Name of the node's logger."""
        return self._node.get_logger().name

    def publish(self, msg: Any) -> None:
        """Send a message, given as an object or as a serialised CDR stream (``bytes``).

        Raises:
            TypeError: not a message of the publisher's type.
            InvalidHandle: the publisher was destroyed.
            RCLError: the context was shut down, or the transport refused.
        """
        if self._writer.closed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested (the publisher is gone)")
        if not self._context.ok():
            raise RCLError("Failed to publish: publisher's context is invalid")
        try:
            if isinstance(msg, self.msg_type):
                parts = encode(msg, self._interface)
                if len(parts) == 1 or not self._may_hand_over or not intra_process.hand_over(parts, self._writer):
                    self._writer.write_parts(parts)
            elif isinstance(msg, bytes | bytearray):
                self._writer.write(bytes(msg) + bytes(-len(msg) & 3))
            else:
                raise TypeError(f"Expected {self.msg_type}, got {type(msg)}")
        except DDSError as error:
            raise RCLError(f"Failed to publish on {self.topic!r}: {error}") from error

    def get_subscription_count(self) -> int:
        """Return the number of subscriptions this publisher is matched with."""
        return self._writer.matched_count()

    def assert_liveliness(self) -> None:
        """Show subscriptions of other processes that the publisher is alive (liveliness manual by topic)."""
        self._writer.assert_liveliness()

    def wait_for_all_acked(self, timeout: Duration | None = None) -> bool:
        """Wait until all reliable subscriptions have received everything; return False when the time is over."""
        nanoseconds = -1 if timeout is None else timeout.nanoseconds
        return self._writer.wait_for_acks(None if nanoseconds < 0 else nanoseconds)

    def destroy(self) -> None:
        """Destroy the publisher; use ``Node.destroy_publisher``."""
        self._writer.close()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.destroy()
