"""Tokens from files and the environment: one line of ASCII, or one sentence that does not tell them."""

from pathlib import Path

import pytest

from magma_contracts.files.server_tokens import MOST_BYTES, TOKEN_VARIABLE, read_token, token_from_file

TOKEN = "0123456789abcdef"


def test_a_token_is_the_one_line_of_its_file_or_of_the_environment(tmp_path):
    (tmp_path / "token").write_bytes(b"\xef\xbb\xbf" + TOKEN.encode() + b"\r\n")
    assert token_from_file(tmp_path / "token") == TOKEN
    assert read_token(str(tmp_path / "token"), {TOKEN_VARIABLE: "another"}) == TOKEN
    assert read_token("", {TOKEN_VARIABLE: TOKEN}) == TOKEN
    assert read_token("", {}) is None and read_token("", {TOKEN_VARIABLE: ""}) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (f"{TOKEN}\n{TOKEN}\n".encode(), "one line"),
        (f"{TOKEN}\x1b[2J".encode(), "one line"),
        (f"{TOKEN}é".encode(), "ASCII"),
        (TOKEN.encode("utf-16"), "not UTF-8"),
        (b"a" * (MOST_BYTES + 1), "another file"),
    ],
    ids=["empty", "blank", "two lines", "escape", "accent", "UTF-16", "long"],
)
def test_what_is_no_token_is_refused_without_telling_it(tmp_path, content, said):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ValueError, match=said) as refused:
        token_from_file(tmp_path / "token")
    assert TOKEN not in str(refused.value) and str(refused.value).isprintable()


@pytest.mark.parametrize("path", ["/dev/zero", "/nowhere/token", ".", "a\0b", "x" * 5000])
def test_what_is_no_file_of_a_token_is_refused_in_one_sentence(path):
    with pytest.raises(ValueError, match="token file") as refused:
        token_from_file(Path(path))
    assert str(refused.value).isprintable() and len(str(refused.value)) < 1200


def test_a_token_of_the_environment_that_would_forge_a_header_is_refused():
    with pytest.raises(ValueError, match=TOKEN_VARIABLE):
        read_token("", {TOKEN_VARIABLE: f"{TOKEN}\r\nX-Other: 1"})
