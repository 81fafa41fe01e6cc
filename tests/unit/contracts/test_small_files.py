"""Files that people hand in: read whole within a limit, or one clause about what they are instead."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import LFS_POINTER, read_bytes, read_text

MOST = 4096


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1".encode("utf-16"), "is UTF-16, not UTF-8"),
        ("a: 1".encode("utf-16-be"), None),  # without its mark it is text with noughts in it; the parser's business
        ("ü".encode("latin-1"), "is not UTF-8 text"),
        (b"good\xc3", "is not UTF-8 text (unexpected end of data at byte 4)"),
        (b"x" * (MOST + 1), "is larger than 4 KiB (4097 bytes): is it another file?"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
        (b"x" * MOST, None),
        (b"", None),
    ],
)
def test_what_is_no_such_text(tmp_path, content, said):
    path = tmp_path / "file"
    path.write_bytes(content)
    if said is None:
        assert read_text(path, MOST) == content.decode()
        return
    with pytest.raises(ConfigError) as refused:
        read_text(path, MOST)
    assert said in str(refused.value) and str(tmp_path) not in str(refused.value)


def test_an_editors_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "file").write_bytes("käse\r\n".encode("utf-8-sig"))
    assert read_text(tmp_path / "file", MOST) == "käse\r\n", "and line ends stay as they are"


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "nothing", "cannot be read: No such file"),
        (tmp_path / "pipe", "a pipe or a device"),
        ("/dev/zero", "a pipe or a device"),
        (tmp_path / "a\0b", "cannot be read: embedded null"),
        (tmp_path / ("x" * 5000), "cannot be read: File name too long"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_bytes(path, MOST)
    with pytest.raises(ConfigError, match="larger than 4 KiB: is it"):
        read_bytes("/dev/zero", MOST, pipes=True)


def test_a_size_that_is_not_told_beforehand(tmp_path):
    assert read_bytes("/proc/self/stat", MOST).startswith(f"{os.getpid()} ".encode())
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text("0123"))
    writer.start()
    assert read_text(tmp_path / "pipe", MOST, pipes=True) == "0123"
    writer.join()


def test_a_large_limit_takes_no_memory(tmp_path):
    (tmp_path / "file").write_text("x")
    program = (
        "import resource, sys; from pathlib import Path; from magma_contracts.files.small_files import read_bytes;"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30));"
        "assert read_bytes(Path(sys.argv[1]), 4 << 30) == b'x'"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "file")], check=True, env={"OMP_NUM_THREADS": "1"})


@given(data=st.binary(max_size=50), most=st.integers(0, 50))
@example(data=LFS_POINTER, most=50)
def test_any_bytes_are_read_as_they_are_or_refused(tmp_path_factory, data, most):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    if len(data) > most:
        with pytest.raises(ConfigError, match="larger"):
            read_bytes(path, most)
        return
    if data.startswith(LFS_POINTER):
        with pytest.raises(ConfigError, match="git-lfs"):
            read_bytes(path, most)
        return
    assert read_bytes(path, most) == data
    try:
        assert read_text(path, most).encode() in (data, data[3:])
    except ConfigError as error:
        assert "UTF" in str(error)
