"""Files that are written whole or not at all: under another name first, on the disk before they take their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write a file's new contents to; at the end they replace the old ones. After an error nothing is left of
    them, and the old ones stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        yield partial
        _on_disk(partial)
        partial.replace(path)
        _on_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(directory: Path, last: str) -> Iterator[Path]:
    """A folder to write new contents of the files of `directory` to; at the end they take their places there, the file
    `last` behind all others. Files that stay the same are not touched: where only the last one changes, all change at
    once. After an error nothing is left of them; files that were not written stay."""
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / PARTIAL
    # What a killed process left.
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        yield partial
        written = sorted(path.relative_to(partial) for path in partial.rglob("*") if path.is_file())
        written.sort(key=lambda name: name == Path(last))
        for name in written:
            _on_disk(partial / name)
        for name in written:
            if name != Path(last) and _same(partial / name, directory / name):
                continue
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).replace(directory / name)
            _on_disk((directory / name).parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _same(new: Path, old: Path) -> bool:
    return old.is_file() and old.stat().st_size == new.stat().st_size and old.read_bytes() == new.read_bytes()


def _on_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
