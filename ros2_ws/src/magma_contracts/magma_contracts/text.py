"""Text from outside (files, topics, devices, other machines) on its way to a terminal, a log or an error message.

What a stranger wrote may hold terminal escapes, line breaks that forge log lines, text that runs backwards, or
megabytes. `printable` makes one harmless line of it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

LONGEST = 500
"""Characters of a line that a person still reads."""
LONGEST_SENTENCE = 900
"""Characters of a sentence about a file; what is longer buries its point."""

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 80


def escaped(text: str, kept: str = "\n") -> str:
    """The text with what is not printable as its escape, such as \\x1b; the characters `kept` stay as they are."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in kept else letter.encode("unicode_escape").decode()
        for letter in text
    )


def printable(value: object, longest: int = LONGEST) -> str:
    """The text of a value as one line without control characters, those of terminals and of text direction included;
    shortened where too long.

    What is not printable stands as its escape, such as \\x1b; line breaks become spaces.
    """
    text = str(value)
    if len(text) <= longest and text.isprintable():
        return text
    line = escaped(" ".join(text[: 4 * longest].split()), kept="")
    if len(line) <= longest and len(text) <= 4 * longest:
        return line
    return f"{line[: longest - 1]}…"


def sentence(text: str) -> str:
    """One line that a terminal can show: what it cannot is escaped, and of a long text the middle is left out.

    What is quoted from a file may be anything, also commands to the terminal or half a million digits.
    """
    # Before and after: an escape is up to ten times as long as what it stands for.
    return _without_middle(escaped(_without_middle(text), kept=""))


def _without_middle(text: str) -> str:
    if len(text) <= LONGEST_SENTENCE:
        return text
    return f"{text[: LONGEST_SENTENCE * 3 // 4]} … {text[-LONGEST_SENTENCE // 5 :]}"


def brief(value: object) -> str:
    """A value for an error message: its repr, shortened whatever the value is."""
    try:
        return _brief.repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} too long to show"


def listed(names: Iterable[object]) -> str:
    """Names with commas between, for an error message; the first ten, each shortened."""
    every = list(names)
    shown = ", ".join(printable(str(name), 60) for name in every[:10])
    return shown if len(every) <= 10 else f"{shown} and {len(every) - 10} more"


def encodes(text: str) -> bool:
    """Whether a text can be written as UTF-8: half characters, as JSON and file names may hold them, cannot."""
    return text.isascii() or not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)


def one_line(text: str) -> str:
    """What somebody wrote as one line: whatever cannot be printed parts words as a space does."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
