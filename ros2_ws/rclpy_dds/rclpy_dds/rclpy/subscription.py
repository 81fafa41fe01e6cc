"""Subscriptions."""

import inspect
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

from rclpy_dds._dds.participant import Reader, Sample
from rclpy_dds.interfaces.cdr import MalformedMessageError, SharedPayload, decode

from . import intra_process
from .callback_groups import CallbackGroup
from .event_handler import EndpointEvents, EventHandler, SubscriptionEventCallbacks
from .malformed import MalformedCounter
from .qos import HistoryPolicy, QoSProfile, endpoint_policies
from .type_support import interface_name


class Subscription:
    """Receives messages of a topic; made by ``Node.create_subscription``.

    Bytes that are not a message of the type are dropped and counted in ``malformed_count``; the node's log says so from
    time to time.
    """

    class CallbackType(Enum):
        """Whether the callback takes the message only or also the message info."""

        MessageOnly = 0
        WithMessageInfo = 1

    def __init__(
        self,
        reader: Reader,
        msg_type: Any,
        topic: str,
        callback: Callable[..., Any],
        callback_group: CallbackGroup,
        qos_profile: QoSProfile,
        raw: bool,
        node: Any,
    ) -> None:
        self._reader = reader
        self.msg_type = msg_type
        self._interface = interface_name(msg_type, "msg")
        self.topic = topic
        self.callback_group = callback_group
        self.qos_profile = qos_profile
        self.raw = raw
        self._node = node
        self._malformed = MalformedCounter(f"message on {topic}", node)
        self._sequence = 0
        policies = endpoint_policies(qos_profile)
        limit = policies.depth if policies.history == HistoryPolicy.KEEP_LAST else None
        self._handed_over: deque[Sample] = deque(maxlen=limit)
        self._later: Sample | None = None  # taken from the reader, but younger than what was handed over
        self.event_handlers: list[EventHandler] = []
        self._events: EndpointEvents | None = None
        self._event_callbacks = SubscriptionEventCallbacks()
        self.callback = callback

    @property
    def topic_name(self) -> str:
        """Fully qualified topic name."""
        return self.topic

    @property
    def handle(self) -> Reader:
        """The transport's reader."""
        return self._reader

    @property
    def logger_name(self) -> str:
        """Name of the node's logger."""
        return self._node.get_logger().name

    @property
    def condition(self) -> int:
        """DDS condition that holds while there are samples."""
        return self._reader.condition

    @property
    def pending(self) -> bool:
        """Whether there are messages that the condition does not tell of."""
        return bool(self._handed_over) or self._later is not None

    def hand_over(self, sample: Sample) -> None:
        """Take a message from a publisher of this process; from any thread."""
        self._handed_over.append(sample)
        self._node._wake_executor()

    def _next_sample(self) -> Sample | None:
        """Return the oldest sample of both ways."""
        sample, self._later = self._later, None
        if sample is None:
            sample = self._reader.take()
        if self._handed_over and (
            sample is None or self._handed_over[0].source_timestamp_ns <= sample.source_timestamp_ns
        ):
            self._later = sample
            return self._handed_over.popleft()
        return sample

    @property
    def callback(self) -> Callable[..., Any]:
        """Function that gets the message, or the message and its info."""
        return self._callback

    @callback.setter
    def callback(self, value: Callable[..., Any]) -> None:
        self._callback_type = _callback_type(value)
        self._callback = value

    def take(self) -> tuple | None:
        """Take one message; return the arguments of the callback, or None when there is no (valid) message."""
        sample = self._next_sample()
        if sample is None:
            return None
        if self.raw:
            message: Any = bytes(sample.payload)
        elif type(sample.payload) is SharedPayload:
            message = sample.payload.decode(self._interface)
        else:
            try:
                message = decode(sample.payload, self._interface)
            except MalformedMessageError as error:
                self._malformed.add(error)
                return None
        if self._callback_type is Subscription.CallbackType.MessageOnly:
            return (message,)
        self._sequence += 1
        info = {
            "source_timestamp": sample.source_timestamp_ns,
            "received_timestamp": time.time_ns(),
            "publication_sequence_number": None,
            "reception_sequence_number": self._sequence,
        }
        return message, info

    def run(self, *arguments: Any) -> Any:
        """Call the callback with what :meth:`take` returned."""
        return self._callback(*arguments)

    @property
    def malformed_count(self) -> int:
        """How many payloads were dropped."""
        return self._malformed.count

    def get_publisher_count(self) -> int:
        """Return the number of publishers this subscription is matched with."""
        return self._reader.matched_count()

    def destroy(self) -> None:
        """Destroy the subscription; use ``Node.destroy_subscription``."""
        intra_process.unregister(self)
        self._reader.close()
        self._handed_over.clear()
        self._later = None

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.destroy()


def _callback_type(callback: Callable[..., Any]) -> Subscription.CallbackType:
    if not callable(callback):
        raise RuntimeError("Subscription.__init__(): callback should be a callable")
    try:
        signature = inspect.signature(callback)
    except ValueError:
        return Subscription.CallbackType.MessageOnly
    for count, kind in ((1, Subscription.CallbackType.MessageOnly), (2, Subscription.CallbackType.WithMessageInfo)):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return kind
    raise RuntimeError(
        "Subscription.__init__(): callback should be either be callable with one argument (to get only the message) "
        "or two (to get message and message info)"
    )
