"""Delivery within a process without a copy.

A large numeric sequence that nobody can change any more is handed from a publisher to the subscriptions of the same
process by reference. The rest of the message travels as CDR, as it does between processes: what a subscription gets is
a message of its own, equal to the one that was published, whatever the publisher does with its object afterwards.

This way is taken only when it cannot be told from the other one: every matched reader is a subscription of this
process (DDS decides about the matches), and the publisher's quality of service asks the transport for nothing else
(transient-local history, lifespan, deadline, liveliness). Otherwise, and for data that may still change, the message
goes through DDS, which copies it once for all readers.
"""

import array
import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rclpy_dds._dds.libddsc import INFINITY
from rclpy_dds._dds.participant import Sample, Writer, is_received_buffer
from rclpy_dds._dds.qos import EndpointPolicies
from rclpy_dds.interfaces.cdr import VIEW_THRESHOLD_BYTES, Part, SharedPayload

from .qos import DurabilityPolicy, LivelinessPolicy

if TYPE_CHECKING:
    from .subscription import Subscription

# By DDS instance handle of the reader.
_subscriptions: "weakref.WeakValueDictionary[int, Subscription]" = weakref.WeakValueDictionary()
_lock = threading.Lock()


def register(subscription: "Subscription") -> None:
    """Let publishers of this process hand messages to a subscription that an executor asks for them."""
    with _lock:
        _subscriptions[subscription.handle.instance_handle] = subscription


def unregister(subscription: "Subscription") -> None:
    """End this."""
    with _lock:
        _subscriptions.pop(subscription.handle.instance_handle, None)


def may_hand_over(policies: EndpointPolicies) -> bool:
    """Return whether messages of a publisher with these policies may go past the transport."""
    return (
        policies.durability == DurabilityPolicy.VOLATILE
        and policies.deadline_ns == policies.lifespan_ns == policies.liveliness_lease_ns == INFINITY
        and policies.liveliness == LivelinessPolicy.AUTOMATIC
    )


def is_immutable(data: Any) -> bool:
    """Return whether nobody is able to change an array: all of it down to its memory is read-only.

    An array that owns its memory counts once its ``writeable`` flag is cleared: that is how its owner says so.
    """
    while isinstance(data, np.ndarray):
        if data.flags.writeable:
            return False
        if data.base is None:
            return bool(data.flags.owndata)
        data = data.base
    if isinstance(data, memoryview):
        if not data.readonly:
            return False
        data = data.obj
    return isinstance(data, bytes) or is_received_buffer(data)


def hand_over(parts: Sequence[Part], writer: Writer) -> bool:
    """Hand a message to the matched subscriptions; return False when it has to go through the transport.

    Args:
        parts: the message as :func:`rclpy_dds.interfaces.cdr.encode` returns it.
        writer: its publisher's writer.
    """
    if not any(
        isinstance(part, np.ndarray) and part.nbytes >= VIEW_THRESHOLD_BYTES and is_immutable(part) for part in parts
    ):
        return False
    with _lock:
        found = [_subscriptions.get(handle) for handle in writer.matched_handles()]
    subscriptions = [subscription for subscription in found if subscription is not None]
    if not subscriptions or len(subscriptions) < len(found):
        return False
    arrays = [_read_only(part) for part in parts if isinstance(part, np.ndarray | array.array)]
    payload = SharedPayload(parts, arrays)
    sample = Sample(payload, time.time_ns(), writer.instance_handle)
    for subscription in subscriptions:
        subscription.hand_over(sample)
    return True


def _read_only(data: np.ndarray | array.array) -> np.ndarray:
    """Return a read-only view of the data, or a read-only copy when it may still be changed."""
    view = np.frombuffer(data, dtype=data.typecode) if isinstance(data, array.array) else data
    view = view.view(np.ndarray) if is_immutable(view) else view.copy()
    view.flags.writeable = False
    return view


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _subscriptions.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
