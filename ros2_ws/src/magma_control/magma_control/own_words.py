"""Tells what this controller published from what somebody else publishes on the same topic."""

from __future__ import annotations

import threading
from collections.abc import Hashable

_KEPT = 512


class OwnWords:
    """The last messages that were published here, by what identifies them. Any thread may call anything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[Hashable, None] = {}

    def say(self, key: Hashable) -> None:
        """To be called before a message is published."""
        with self._lock:
            self._keys[key] = None
            if len(self._keys) > _KEPT:
                del self._keys[next(iter(self._keys))]

    def are(self, key: Hashable) -> bool:
        """Whether a message that was heard was published here."""
        with self._lock:
            return key in self._keys
