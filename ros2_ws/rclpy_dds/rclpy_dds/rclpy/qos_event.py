"""Former name of :mod:`event_handler`."""

from .event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeException

__all__ = ["PublisherEventCallbacks", "SubscriptionEventCallbacks", "UnsupportedEventTypeException"]
