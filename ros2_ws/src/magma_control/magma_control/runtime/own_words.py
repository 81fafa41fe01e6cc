"""Tells what this controller published from what somebody else publishes on the same topic."""

from __future__ import annotations

import threading
from collections.abc import Hashable

_KEPT = 512


class OwnWords:
    """The last messages that were published here, by what identifies them. Any thread may call anything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outstanding: dict[Hashable, int] = {}
        """how often each was published here and not heard yet"""

    def say(self, key: Hashable) -> None:
        """To be called before a message is published."""
        with self._lock:
            self._outstanding[key] = self._outstanding.pop(key, 0) + 1
            if len(self._outstanding) > _KEPT:
                del self._outstanding[next(iter(self._outstanding))]

    def are(self, key: Hashable) -> bool:
        """Whether a message that was heard was published here, now or before: for topics that say a thing again to
        whoever comes later."""
        with self._lock:
            return key in self._outstanding

    def come(self, key: Hashable) -> bool:
        """The same where each message is heard once: one that somebody repeats (a relay, a player of recordings) is
        not from here. To be called once for each."""
        with self._lock:
            left = self._outstanding.get(key, 0)
            if left:
                self._outstanding[key] = left - 1
            return left > 0
