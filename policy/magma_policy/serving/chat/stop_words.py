"""Texts at which an answer ends, found although it comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopWords:
    """Gives out a text piece by piece up to the first of some words, holding back what may be the beginning of one.

    The first is the one that is whole first, and of those that end together the longest: so the cuts decide nothing.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [word for word in words if word]
        self._held = ""
        self.found = False
        """whether a word came: nothing is given out any more"""

    def add(self, piece: str) -> str:
        """What is certain to come before any of the words."""
        if self.found:
            return ""
        text = self._held + piece
        places = [(place + len(word), place) for word in self._words if (place := text.find(word)) >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)[1]]
        keep = max((_overlap(text, word) for word in self._words), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, once nothing more comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, word: str) -> int:
    """How many characters at the end of `text` begin `word` without being all of it."""
    return next((n for n in range(min(len(text), len(word) - 1), 0, -1) if text.endswith(word[:n])), 0)
