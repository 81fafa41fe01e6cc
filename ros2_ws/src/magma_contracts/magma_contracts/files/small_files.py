"""Files that people hand in, read whole within a limit: settings, cards, tokens, lists.

What a name leads to may be a folder, a pipe that nobody writes to, a device without end, a file of gigabytes, or text
of another encoding. Each is refused in one clause that does not name the file, such as "is UTF-16, not UTF-8 …":
whoever asked puts before it what the file is to them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from magma_contracts.errors import ConfigError

LFS_POINTER = b"version https://git-lfs"
LFS_REMEDY = "is a pointer of git-lfs, not the file itself: run `git lfs pull` there, or download the file"


def read_bytes(path: Path, most_bytes: int, *, pipes: bool = False) -> bytes:
    """The content of a file.

    Args:
        path: the file.
        most_bytes: that are read; what is longer is no such file.
        pipes: whether it may be a pipe, as `<(command)` in a shell, and is waited for.

    Raises:
        ConfigError: there is no such file, or it is none, or larger.
    """
    try:
        with open(path, "rb", opener=None if pipes else _without_waiting) as file:
            status = os.fstat(file.fileno())
            if not pipes and not stat.S_ISREG(status.st_mode):
                raise ConfigError("cannot be read: it is no file but a pipe or a device")
            size = status.st_size
            data = b"" if size > most_bytes else file.read(size + 1)
            if len(data) > size:  # a pipe does not say what it holds, nor does a file that is being written
                data += file.read(most_bytes + 1 - len(data))
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if max(size, len(data)) > most_bytes:
        told = f" ({size} bytes)" if size > most_bytes else ""
        raise ConfigError(f"is larger than {_as_text(most_bytes)}{told}: is it another file?")
    if data.startswith(LFS_POINTER):
        raise ConfigError(LFS_REMEDY)
    return data


def read_text(path: Path, most_bytes: int, *, pipes: bool = False) -> str:
    """The UTF-8 text of a file, an editor's mark in front taken off; otherwise as `read_bytes`."""
    data = read_bytes(path, most_bytes, pipes=pipes)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError("is UTF-16, not UTF-8, as some editors and shells write; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None


def _without_waiting(path: str, flags: int) -> int:
    # Opening a pipe waits for whoever writes to it. Windows has no such flag, nor such files.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _as_text(size: int) -> str:
    for bits, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << bits and size % (1 << bits) == 0:
            return f"{size >> bits} {unit}"
    return f"{size} bytes"
