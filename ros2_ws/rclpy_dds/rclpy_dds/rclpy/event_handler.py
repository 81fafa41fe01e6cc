"""Quality-of-service events: not covered yet, so that asking for one is an error rather than silence."""

from collections.abc import Callable
from typing import Any


class UnsupportedEventTypeException(NotImplementedError):
    """This kind of event does not exist here."""


class _EventCallbacks:
    def __init__(self, **callbacks: Callable[..., Any] | bool | None) -> None:
        wanted = [name for name, value in callbacks.items() if value is not None and name != "use_default_callbacks"]
        if wanted:
            raise UnsupportedEventTypeException(f"rclpy_dds does not deliver QoS events yet: {', '.join(wanted)}")


class PublisherEventCallbacks(_EventCallbacks):
    """Callbacks for events of a publisher."""

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
        super().__init__(
            deadline=deadline,
            liveliness=liveliness,
            incompatible_qos=incompatible_qos,
            incompatible_type=incompatible_type,
            matched=matched,
        )


class SubscriptionEventCallbacks(_EventCallbacks):
    """Callbacks for events of a subscription."""

    def __init__(
        self,
        *,
        deadline: Callable[..., Any] | None = None,
        incompatible_qos: Callable[..., Any] | None = None,
        incompatible_type: Callable[..., Any] | None = None,
        liveliness: Callable[..., Any] | None = None,
        message_lost: Callable[..., Any] | None = None,
        matched: Callable[..., Any] | None = None,
        use_default_callbacks: bool = True,
    ) -> None:
        super().__init__(
            deadline=deadline,
            incompatible_qos=incompatible_qos,
            incompatible_type=incompatible_type,
            liveliness=liveliness,
            message_lost=message_lost,
            matched=matched,
        )
