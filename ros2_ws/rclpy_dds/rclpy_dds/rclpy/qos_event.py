"""Former name of :mod:`event_handler`."""

from .event_handler import (
    PublisherEventCallbacks,
    QoSPublisherEventType,
    QoSSubscriptionEventType,
    SubscriptionEventCallbacks,
    UnsupportedEventTypeError,
)

__all__ = [
    "PublisherEventCallbacks",
    "QoSPublisherEventType",
    "QoSSubscriptionEventType",
    "SubscriptionEventCallbacks",
    "UnsupportedEventTypeError",
]
