"""Digests of files: equal for equal contents, remembered only while nothing has changed."""

from __future__ import annotations

import json
import os
import time

import pytest

from magma_policy_client import content
from magma_policy_client.content import digest_of, file_digests


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Large files and blocks are small here, and the cache is the test's own."""
    monkeypatch.setattr(content, "BLOCK_BYTES", 64)
    monkeypatch.setattr(content, "REMEMBERED_BYTES", 200)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def one(path) -> str:
    return file_digests([path])[path]


def old(path):
    """As if written a minute ago, as far as the cache can tell."""
    os.utime(path, (time.time() - 60, time.time() - 60))


def cached(tmp_path):
    path = tmp_path / "cache" / "magma" / "digests.json"
    return json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128, 1000])
def test_every_byte_and_the_length_count(tmp_path, size):
    data = bytes(range(256)) * 4
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(data[:size])
    second.write_bytes(data[:size])
    assert one(first) == one(second) and len(one(first)) == 64
    for place in {0, size // 2, size - 1} if size else set():
        changed = bytearray(data[:size])
        changed[place] ^= 1
        second.write_bytes(bytes(changed))
        assert one(second) != one(first)
    second.write_bytes(data[:size] + b"\0")
    assert one(second) != one(first)


def test_a_large_file_is_read_once_until_it_changes_however_its_times_are_set(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "SETTLED_S", -1.0)
    path = tmp_path / "a"
    path.write_bytes(b"a" * 1000)
    old(path)
    first = one(path)
    assert len(cached(tmp_path)) == 1
    with monkeypatch.context() as patched:
        patched.setattr(content, "_digest", lambda *_: pytest.fail("read again"))
        assert one(path) == first
    times = path.stat()
    path.write_bytes(b"b" * 1000)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert one(path) != first


def test_a_file_that_was_just_written_is_not_remembered(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"a" * 1000)
    one(path)
    assert cached(tmp_path) == {}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"a": 1}', b"\xff", b"[" * 100_000])
def test_a_cache_that_is_broken_or_cannot_be_written_is_done_without(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(content, "SETTLED_S", -1.0)
    path = tmp_path / "a"
    path.write_bytes(b"a" * 1000)
    folder = tmp_path / "cache" / "magma"
    folder.mkdir(parents=True)
    (folder / "digests.json").write_bytes(damage)
    first = one(path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert one(path) == first


def test_a_digest_of_parts_takes_names_and_values_in_any_order():
    assert digest_of({"a": "1", "b": "2"}) == digest_of({"b": "2", "a": "1"})
    assert len({digest_of(p) for p in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": ""}, {})}) == 5
