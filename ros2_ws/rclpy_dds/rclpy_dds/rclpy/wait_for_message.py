"""Wait for one message."""

import time
from typing import Any

from .qos import QoSProfile


def wait_for_message(
    msg_type: type, node: Any, topic: str, *, qos_profile: QoSProfile | int = 1, time_to_wait: float = -1
) -> tuple[bool, Any]:
    """Wait for the next message of a topic without spinning the node's other callbacks.

    Args:
        msg_type: message class.
        node: node that subscribes.
        topic: topic name.
        qos_profile: quality of service or depth.
        time_to_wait: seconds; negative: without a limit.

    Returns:
        Whether a message came, and the message or None.
    """
    subscription = node.create_subscription(msg_type, topic, lambda _: None, qos_profile)
    deadline = None if time_to_wait < 0 else time.monotonic() + time_to_wait
    try:
        while node.context.ok():
            arguments = subscription.take()
            if arguments is not None:
                return True, arguments[0]
            if deadline is not None and time.monotonic() >= deadline:
                break
            time.sleep(0.005)
        return False, None
    finally:
        node.destroy_subscription(subscription)
