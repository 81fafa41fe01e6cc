"""Answers as people give them, read as one of a few choices; what names none, or several, is no answer.

Strict on purpose: a letter counts where it stands alone, never as the beginning of a word.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

_LEAD = r"(?:(?:the|my|correct|right|best|final)\s+)*(?:answer|option|choice)\s*(?:is|would\s+be)?\s*[:=]?\s*"
_LETTER = r"\(?\**(?P<letter>[A-Za-z])\**(?:\)|[.:,](?=\s|$)|(?=\s*$|\s*\n))"
_STARTS = re.compile(rf"^\W*?(?:{_LEAD})?{_LETTER}", re.IGNORECASE)
_NAMED = re.compile(rf"\b{_LEAD}\(?\**(?P<letter>[A-Za-z])\b(?!['’])", re.IGNORECASE)
_BRACKETED = re.compile(r"\((?P<letter>[A-Z])\)")
_WORDS = {"yes": True, "true": True, "no": False, "false": False}
_OPTION = re.compile(r"^\s*\(?(?P<letter>[A-Z])[.):]\s*(?P<text>\S.*?)\s*$", re.MULTILINE)


def yes_or_no(answer: str) -> bool | None:
    """Yes and true, no and false: the first word, or the only one of them in the answer; None when it says neither."""
    words = re.findall(r"[a-z]+", answer.lower())
    if words and words[0] in _WORDS:
        return _WORDS[words[0]]
    said = {_WORDS[word] for word in words if word in _WORDS}
    return said.pop() if len(said) == 1 else None


def options_of(question: str) -> dict[str, str]:
    """The options in a question, by letter: the last run of lines `A. …`, `(B) …`, `C) …` in alphabetical order."""
    found: dict[str, str] = {}
    for match in _OPTION.finditer(question):
        letter = match["letter"]
        if letter == "A":
            found = {}
        if letter == string.ascii_uppercase[len(found) % 26]:
            found[letter] = match["text"]
    return found if len(found) > 1 else {}


def chosen_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that an answer names, by the letter or by the option's whole text; None otherwise.

    `options` by letter; with none known, any letter counts.
    """
    text = answer.strip()
    for pattern in (_STARTS, _NAMED):
        if (match := pattern.search(text)) is not None and _known(match["letter"], options):
            return match["letter"].upper()
    bracketed = {letter for letter in _BRACKETED.findall(text) if _known(letter, options)}
    if len(bracketed) == 1:
        return bracketed.pop()
    plain = _plain(text)
    same = [letter for letter, option in options.items() if _plain(option) == plain]
    return same[0] if len(same) == 1 and plain else None


def _known(letter: str, options: Mapping[str, str]) -> bool:
    return letter.upper() in options if options else letter.isascii()


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
