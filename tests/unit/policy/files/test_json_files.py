"""JSON files as people have them: read whole, or one sentence that names the file, what is wrong and what to do."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_contracts.errors import ConfigError
from magma_contracts.text import LONGEST_SENTENCE, sentence
from magma_policy.errors import shown
from magma_policy.files.json_files import MAX_DEPTH, read_object

TEXT = '{"name": "käse", "n": [1, 2.5, null]}'


def refused(path, *words):
    with pytest.raises(ConfigError) as caught:
        read_object(path)
    text = str(caught.value)
    assert text.startswith(str(path)[:200]) and text.isprintable() and len(text) <= LONGEST_SENTENCE + 10
    for word in words:
        assert word in text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf8_with_and_without_its_mark(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(TEXT.encode(encoding))
    assert read_object(path) == {"name": "käse", "n": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (TEXT.encode("utf-16"), ("UTF-16", "save it as UTF-8")),
        (TEXT.encode("utf-16-be"), ("not UTF-8",)),
        (TEXT.encode("latin-1"), ("not UTF-8",)),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", ("git-lfs", "git lfs pull")),
        (b"", ("not valid JSON",)),
        (b"[]", ("expected an object, got list",)),
        (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, ("deeper than",)),
        (b'{"a": ' * 200 + b"1" + b"}" * 200, ("deeper than",)),
        (b'{"a": [' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"]}", ("deeper than",)),
        (b'{"n": ' + b"9" * 1_000_000 + b"}", ("4300 digits",)),
        (b'{"a": 1, "b": 2, "a": 3}', ("says 'a' twice, 1 and 3", "keep one")),
        (b'{"x": {"a": NaN, "a": NaN}}', ("says 'a' twice",)),
        (b'{"a": "\x1b[2J', ("not valid JSON",)),
    ],
)
def test_what_is_not_read_is_told_in_one_line(tmp_path, data, words):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    refused(path, *words)


def test_the_same_thing_said_twice_is_harmless(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1], "b": 2, "a": [1]}')
    assert read_object(tmp_path / "a.json") == {"a": [1], "b": 2}


def test_what_is_no_file(tmp_path):
    refused(tmp_path / "missing.json", "no such file")
    refused(tmp_path, "is a folder")
    os.mkfifo(tmp_path / "pipe.json")
    refused(tmp_path / "pipe.json", "no such file")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    refused(tmp_path / "zero.json", "no such file")
    refused(tmp_path / ("x" * 5000))
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(2**31)
    refused(tmp_path / "huge.json", "2147483648 bytes")


@given(st.text(max_size=3000))
def test_a_sentence_is_one_printable_line(text):
    line = sentence(text)
    assert (line.isprintable() or not line) and len(line) < 1000
    assert line == text or len(text) > LONGEST_SENTENCE or not text.isprintable()
    json.dumps(line).encode()


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_a_value_is_quoted_shortly(value):
    assert len(shown(value)) <= 100
