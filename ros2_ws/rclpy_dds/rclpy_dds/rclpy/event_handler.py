"""Quality-of-service events: callbacks for missed deadlines, liveliness, matches and incompatible QoS."""

import inspect
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from rclpy_dds._dds import events
from rclpy_dds._dds.libddsc import DDSError

from .callback_groups import CallbackGroup
from .qos import QoSPolicyKind


class UnsupportedEventTypeError(RuntimeError):
    """There is no DDS status behind this kind of event."""


class QoSPublisherEventType(IntEnum):
    """Events of a publisher (rcl_publisher_event_type_t)."""

    RCL_PUBLISHER_OFFERED_DEADLINE_MISSED = 0
    RCL_PUBLISHER_LIVELINESS_LOST = 1
    RCL_PUBLISHER_OFFERED_INCOMPATIBLE_QOS = 2
    RCL_PUBLISHER_INCOMPATIBLE_TYPE = 3
    RCL_PUBLISHER_MATCHED = 4


class QoSSubscriptionEventType(IntEnum):
    """Events of a subscription (rcl_subscription_event_type_t)."""

    RCL_SUBSCRIPTION_REQUESTED_DEADLINE_MISSED = 0
    RCL_SUBSCRIPTION_LIVELINESS_CHANGED = 1
    RCL_SUBSCRIPTION_REQUESTED_INCOMPATIBLE_QOS = 2
    RCL_SUBSCRIPTION_MESSAGE_LOST = 3
    RCL_SUBSCRIPTION_INCOMPATIBLE_TYPE = 4
    RCL_SUBSCRIPTION_MATCHED = 5


class QoSRequestedDeadlineMissedInfo(NamedTuple):
    """How often a publisher missed the deadline, in all and since the last event."""

    total_count: int
    total_count_change: int


class QoSLivelinessLostInfo(NamedTuple):
    """How often a publisher did not show its liveliness in time."""

    total_count: int
    total_count_change: int


class QoSMessageLostInfo(NamedTuple):
    """How many messages were lost."""

    total_count: int
    total_count_change: int


class QoSRequestedIncompatibleQoSInfo(NamedTuple):
    """How many incompatible peers were found, and the policy that was in the way last."""

    total_count: int
    total_count_change: int
    last_policy_kind: QoSPolicyKind


class QoSLivelinessChangedInfo(NamedTuple):
    """How many matched publishers are alive and not alive."""

    alive_count: int
    not_alive_count: int
    alive_count_change: int
    not_alive_count_change: int


class QoSSubscriptionMatchedInfo(NamedTuple):
    """How many peers were matched ever and are matched now."""

    total_count: int
    total_count_change: int
    current_count: int
    current_count_change: int


class IncompatibleTypeInfo(NamedTuple):
    """How many peers with another type were found."""

    total_count: int
    total_count_change: int


QoSOfferedDeadlineMissedInfo = QoSRequestedDeadlineMissedInfo
QoSOfferedIncompatibleQoSInfo = QoSRequestedIncompatibleQoSInfo
QoSPublisherMatchedInfo = QoSSubscriptionMatchedInfo


def _incompatible_qos(status: Any) -> QoSRequestedIncompatibleQoSInfo:
    name = events.POLICY_NAMES.get(status.last_policy_id)
    kind = QoSPolicyKind[name] if name is not None else QoSPolicyKind.INVALID
    return QoSRequestedIncompatibleQoSInfo(status.total_count, status.total_count_change, kind)


def _fields_of(kind: Any) -> Callable[[Any], Any]:
    return lambda status: kind(*(getattr(status, name) for name in kind._fields))


# For each event the DDS status behind it, and what the callback gets of that.
_STATUSES: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "RCL_PUBLISHER_OFFERED_DEADLINE_MISSED": (
        events.OFFERED_DEADLINE_MISSED,
        _fields_of(QoSOfferedDeadlineMissedInfo),
    ),
    "RCL_PUBLISHER_LIVELINESS_LOST": (events.LIVELINESS_LOST, _fields_of(QoSLivelinessLostInfo)),
    "RCL_PUBLISHER_OFFERED_INCOMPATIBLE_QOS": (events.OFFERED_INCOMPATIBLE_QOS, _incompatible_qos),
    "RCL_PUBLISHER_MATCHED": (events.PUBLICATION_MATCHED, _fields_of(QoSPublisherMatchedInfo)),
    "RCL_SUBSCRIPTION_REQUESTED_DEADLINE_MISSED": (
        events.REQUESTED_DEADLINE_MISSED,
        _fields_of(QoSRequestedDeadlineMissedInfo),
    ),
    "RCL_SUBSCRIPTION_LIVELINESS_CHANGED": (events.LIVELINESS_CHANGED, _fields_of(QoSLivelinessChangedInfo)),
    "RCL_SUBSCRIPTION_REQUESTED_INCOMPATIBLE_QOS": (events.REQUESTED_INCOMPATIBLE_QOS, _incompatible_qos),
    "RCL_SUBSCRIPTION_MESSAGE_LOST": (events.SAMPLE_LOST, _fields_of(QoSMessageLostInfo)),
    "RCL_SUBSCRIPTION_MATCHED": (events.SUBSCRIPTION_MATCHED, _fields_of(QoSSubscriptionMatchedInfo)),
}


class EventHandler:
    """One kind of event and the callback for it.

    Raises:
        UnsupportedEventTypeError: there is no DDS status behind this kind.
    """

    def __init__(self, event_type: IntEnum, callback: Callable[[Any], Any]) -> None:
        if event_type.name not in _STATUSES:
            raise UnsupportedEventTypeError(f"rclpy_dds has no events of type {event_type.name}")
        self.event_type = event_type
        self.callback = callback
        self.status, self.convert = _STATUSES[event_type.name]


QoSEventHandler = EventHandler  # the former name


class EndpointEvents:
    """What an executor waits for to deliver the events of one publisher or subscription."""

    def __init__(self, entity: int, handlers: list[EventHandler], callback_group: CallbackGroup) -> None:
        """
        Args:
            entity: DDS reader or writer.
            handlers: kinds of events and their callbacks.
            callback_group: group of the callbacks.
        """
        self.condition = entity
        self.handlers = handlers
        self.callback_group = callback_group
        self._statuses = [handler.status for handler in handlers]
        events.watch(entity, self._statuses)

    def take(self) -> tuple | None:
        """Return callbacks and what they get; None when nothing has changed or the endpoint is gone."""
        try:
            changed = events.changed(self.condition, self._statuses)
            pending = [
                (handler.callback, handler.convert(events.read_status(self.condition, handler.status)))
                for handler in self.handlers
                if handler.status in changed
            ]
        except DDSError:
            return None
        return (pending,) if pending else None

    def run(self, pending: list[tuple[Callable[[Any], Any], Any]]) -> Any:
        """Call the callbacks."""
        for index, (callback, information) in enumerate(pending):
            result = callback(information)
            if inspect.iscoroutine(result):
                return self._finish(result, pending[index + 1 :])
        return None

    async def _finish(self, coroutine: Any, rest: list[tuple[Callable[[Any], Any], Any]]) -> None:
        await coroutine
        result = self.run(rest)
        if result is not None:
            await result

    def destroy(self) -> None:
        """Nothing to delete: the condition is the endpoint itself."""


class PublisherEventCallbacks:
    """Callbacks for events of a publisher; each gets one of the ``QoS...Info`` types of this module."""

    def __init__(
        self,
        *,
        deadline: Callable[..., Any] | None = None,
        liveliness: Callable[..., Any] | None = None,
        incompatible_qos: Callable[..., Any] | None = None,
        incompatible_type: Callable[..., Any] | None = None,
        matched: Callable[..., Any] | None = None,
        use_default_callbacks: bool = True,
    ) -> None:
        """
        Args:
            deadline: the publisher missed the deadline that it offers.
            liveliness: it did not show its liveliness in time.
            incompatible_qos: a subscription does not match.
            incompatible_type: a peer has another type. DDS does not report this; it is looked for every second.
            matched: a subscription was matched or is gone.
            use_default_callbacks: log what there is no callback for: incompatible QoS and types, naming both sides.
        """
        self.deadline = deadline
        self.liveliness = liveliness
        self.incompatible_qos = incompatible_qos
        self.incompatible_type = incompatible_type
        self.matched = matched
        self.use_default_callbacks = use_default_callbacks

    def warns_of_incompatible_qos(self) -> bool:
        """Return whether to log peers that do not match."""
        return self.use_default_callbacks and self.incompatible_qos is None

    def create_event_handlers(self) -> list[EventHandler]:
        """Return the handlers of the callbacks that DDS has a status for."""
        kinds = QoSPublisherEventType
        return _handlers(
            (kinds.RCL_PUBLISHER_OFFERED_DEADLINE_MISSED, self.deadline),
            (kinds.RCL_PUBLISHER_LIVELINESS_LOST, self.liveliness),
            (kinds.RCL_PUBLISHER_OFFERED_INCOMPATIBLE_QOS, self.incompatible_qos),
            (kinds.RCL_PUBLISHER_MATCHED, self.matched),
        )


class SubscriptionEventCallbacks:
    """Callbacks for events of a subscription; each gets one of the ``QoS...Info`` types of this module."""

    def __init__(
        self,
        *,
        deadline: Callable[..., Any] | None = None,
        incompatible_qos: Callable[..., Any] | None = None,
        liveliness: Callable[..., Any] | None = None,
        message_lost: Callable[..., Any] | None = None,
        incompatible_type: Callable[..., Any] | None = None,
        matched: Callable[..., Any] | None = None,
        use_default_callbacks: bool = True,
    ) -> None:
        """
        Args:
            deadline: no message came within the requested deadline.
            incompatible_qos: a publisher does not match.
            liveliness: a matched publisher is alive, or is not any more.
            message_lost: a message was lost.
            incompatible_type: a peer has another type. DDS does not report this; it is looked for every second.
            matched: a publisher was matched or is gone.
            use_default_callbacks: log what there is no callback for: incompatible QoS and types, naming both sides.
        """
        self.deadline = deadline
        self.incompatible_qos = incompatible_qos
        self.liveliness = liveliness
        self.message_lost = message_lost
        self.incompatible_type = incompatible_type
        self.matched = matched
        self.use_default_callbacks = use_default_callbacks

    def warns_of_incompatible_qos(self) -> bool:
        """Return whether to log peers that do not match."""
        return self.use_default_callbacks and self.incompatible_qos is None

    def create_event_handlers(self) -> list[EventHandler]:
        """Return the handlers of the callbacks that DDS has a status for."""
        kinds = QoSSubscriptionEventType
        return _handlers(
            (kinds.RCL_SUBSCRIPTION_REQUESTED_DEADLINE_MISSED, self.deadline),
            (kinds.RCL_SUBSCRIPTION_REQUESTED_INCOMPATIBLE_QOS, self.incompatible_qos),
            (kinds.RCL_SUBSCRIPTION_LIVELINESS_CHANGED, self.liveliness),
            (kinds.RCL_SUBSCRIPTION_MESSAGE_LOST, self.message_lost),
            (kinds.RCL_SUBSCRIPTION_MATCHED, self.matched),
        )


def _handlers(*pairs: tuple[IntEnum, Callable[..., Any] | None]) -> list[EventHandler]:
    return [EventHandler(kind, callback) for kind, callback in pairs if callback is not None]
