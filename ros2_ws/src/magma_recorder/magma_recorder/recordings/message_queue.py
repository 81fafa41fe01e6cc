"""Messages on their way from the network to the disk: bounded in memory, and never a reason to wait."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Received:
    """A message as it came from the network."""

    topic: int
    """index of the topic in the recorder's list"""
    log_ns: int
    """when it was received, system time"""
    publish_ns: int
    """when it was published, system time of the publisher's machine"""
    sequence: int
    """counts every message of the topic that was received, also those dropped later"""
    data: bytes
    """CDR"""


class MessageQueue:
    """A queue between one thread that must not wait and one that may have to.

    When the disk is too slow, pictures give way first: they are the bulk, and a recording without some of them still
    tells what the robot did and why.
    """

    def __init__(self, capacity_bytes: int, images: frozenset[int]) -> None:
        """
        Args:
            capacity_bytes: of message data.
            images: topics that are refused once half of the capacity is in use.
        """
        self._capacity = capacity_bytes
        self._images = images
        self._items: deque[Received] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self.dropped: Counter[int] = Counter()
        """messages by topic for which there was no room"""
        self.highest_bytes = 0
        """the most that ever waited"""

    def put(self, item: Received) -> bool:
        """Takes a message, or drops and counts it. Returns at once."""
        allowed = self._capacity // 2 if item.topic in self._images else self._capacity
        with self._changed:
            if self._closed or self._bytes + len(item.data) > allowed:
                self.dropped[item.topic] += 1
                return False
            self._items.append(item)
            self._bytes += len(item.data)
            self.highest_bytes = max(self.highest_bytes, self._bytes)
            self._changed.notify()
            return True

    def take(self, timeout_s: float) -> list[Received]:
        """All that is there; waits up to `timeout_s` for the first."""
        with self._changed:
            if not self._items and not self._closed:
                self._changed.wait(timeout_s)
            items = list(self._items)
            self._items.clear()
            self._bytes = 0
            return items

    def close(self) -> None:
        """Nothing more is taken in."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait now."""
        with self._changed:
            return self._bytes

    @property
    def closed(self) -> bool:
        return self._closed
