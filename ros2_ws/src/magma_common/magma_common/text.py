"""Text from outside (files, topics, devices, other machines) on its way to a terminal, a log or an error message.

What a stranger wrote may hold terminal escapes, line breaks that forge log lines, text that runs backwards, or
megabytes. `printable` makes one harmless line of it.
"""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Iterable

LONGEST = 500
"""Characters of a line that a person still reads."""

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 80


def printable(text: str, longest: int = LONGEST) -> str:
    """One line without control characters, those of terminals and of text direction included; shortened where too long.

    What is not printable stands as its escape, such as \\x1b; line breaks become spaces.
    """
    if len(text) <= longest and text.isprintable():
        return text
    line = " ".join(text[: 4 * longest].split())
    line = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in line)
    if len(line) <= longest and len(text) <= 4 * longest:
        return line
    return f"{line[: longest - 1]}…"


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


def content_hash(*parts: str | bytes) -> str:
    """Twelve hexadecimal digits that name a content: the beginning of the SHA-256 of its parts and their lengths."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()[:12]
