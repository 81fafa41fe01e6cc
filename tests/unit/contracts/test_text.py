"""Text from outside on its way to a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from magma_contracts.errors import ConfigError
from magma_contracts.files.digests import content_hash
from magma_contracts.text import LONGEST, LONGEST_SENTENCE, brief, escaped, listed, one_line, printable, sentence


@given(st.text())
def test_text_from_outside_is_one_printable_line(text: str) -> None:
    line = printable(text)
    assert line.isprintable() and len(line) <= LONGEST
    if text.isprintable() and len(text) <= LONGEST:
        assert line == text


def test_terminal_escapes_stand_as_their_names_and_long_text_is_cut() -> None:
    assert printable("pad\x1b]0;owned\x07\n[INFO] all is well") == "pad\\x1b]0;owned\\x07 [INFO] all is well"
    assert printable("\u202egnp") == "\\u202egnp"
    assert len(printable("a" * 10**6)) == LONGEST and len(brief(["a" * 10**6] * 1000)) < 1000
    assert brief(1 << 40000).isprintable() and brief("\x1b") == "'\\x1b'"
    assert listed(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"


def test_a_content_hash_tells_parts_apart() -> None:
    assert content_hash("ab", "c") != content_hash("a", "bc") and content_hash("a") == content_hash(b"a")


@given(st.text())
def test_escaped_text_keeps_its_lines_and_nothing_else_that_is_not_printable(text: str) -> None:
    shown = escaped(text)
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert shown.count("\n") == text.count("\n") and (shown == text or not text.isprintable())


@given(st.text(max_size=40), st.integers(0, 60))
def test_an_error_about_configuration_is_one_line_of_bounded_length(text: str, repeats: int) -> None:
    said = str(ConfigError(text * repeats))
    assert said.isprintable() and said == sentence(text * repeats)
    assert said == text * repeats or len(text * repeats) > LONGEST_SENTENCE or not text.isprintable()
    assert len(sentence("x" * 10**6)) <= LONGEST_SENTENCE


def test_one_line_is_what_was_meant():
    assert one_line("  put\tthe\ncarrot\x00 on \u200bthe\u2028plate ") == "put the carrot on the plate"
