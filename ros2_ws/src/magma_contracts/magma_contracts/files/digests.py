"""Short names for contents."""

from __future__ import annotations

import hashlib


def content_hash(*parts: str | bytes) -> str:
    """Twelve hexadecimal digits that name a content: the beginning of the SHA-256 of its parts and their lengths."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()[:12]
