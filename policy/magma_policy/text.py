"""Text from files that anyone may have written, on its way to a terminal or a log."""

from __future__ import annotations

LONGEST = 300
"""Characters of a value or reason that a person still reads."""


def printable(text: object, longest: int = LONGEST) -> str:
    """One line without control characters, those of terminals and of text direction included; shortened where too long.

    What is not printable stands as its escape, such as \\x1b; line breaks become spaces.
    """
    line = " ".join(str(text)[: 4 * longest].split())
    line = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in line)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def escaped(text: str) -> str:
    """The text with its line breaks, but without what else is not printable: that stands as its escape."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
