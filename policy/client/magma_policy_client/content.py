"""Names files by what is in them, quickly enough for a checkpoint of many gigabytes.

A file's digest is the SHA-256 of its size and of the SHA-256 of its blocks, which threads compute side by side: hashlib
lets go of Python's lock, and processors have instructions for SHA-256. Digests of large files are remembered in
`$XDG_CACHE_HOME/magma/digests.json` under device, inode, size and both times of change, so that an unchanged file is
read once. A cache that cannot be read or written is done without.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BLOCK_BYTES = 8 << 20
REMEMBERED_BYTES = 16 << 20
"""Smaller files are read again: that takes no longer than looking them up."""
MOST_REMEMBERED = 2000
SETTLED_S = 2.0
"""A file changed less than so long ago is not remembered: a second change may come within one tick of its clock."""


def file_digests(paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256-based digests, 64 hexadecimal digits each. OSError when a file cannot be read."""
    known = _remembered()
    found: dict[Path, str] = {}
    fresh: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        for path in paths:
            with path.open("rb") as file:
                before = os.fstat(file.fileno())
                key = _key(before)
                if before.st_size < REMEMBERED_BYTES or key not in known:
                    found[path] = _digest(file.fileno(), before.st_size, pool)
                    after = os.fstat(file.fileno())
                    settled = time.time() - max(after.st_mtime, after.st_ctime) > SETTLED_S
                    if after.st_size >= REMEMBERED_BYTES and _key(after) == key and settled:
                        fresh[key] = found[path]
                else:
                    found[path] = known[key]
    if fresh:
        _remember({**known, **fresh})
    return found


def digest_of(parts: Mapping[str, str]) -> str:
    """One digest, 32 hexadecimal digits, for names and their digests or settings, whatever their order."""
    text = json.dumps(dict(sorted(parts.items())), ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _digest(descriptor: int, size: int, pool: ThreadPoolExecutor) -> str:
    def block(offset: int) -> bytes:
        return hashlib.sha256(os.pread(descriptor, BLOCK_BYTES, offset)).digest()

    whole = hashlib.sha256(size.to_bytes(8, "little"))
    for part in pool.map(block, range(0, size, BLOCK_BYTES)):
        whole.update(part)
    return whole.hexdigest()


def _key(status: os.stat_result) -> str:
    # The time of the last change of the inode cannot be set back, as that of its content can.
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _cache_file() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "magma" / "digests.json"


def _remembered() -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError, RuntimeError, RecursionError):
        content = json.loads(_cache_file().read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return {k: v for k, v in content.items() if isinstance(v, str) and len(v) == 64}
    return {}


def _remember(digests: dict[str, str]) -> None:
    kept = dict(list(digests.items())[-MOST_REMEMBERED:])
    with contextlib.suppress(OSError, RuntimeError):
        path = _cache_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps(kept), encoding="utf-8")
        partial.replace(path)
