"""How large an action chunk may be, in bytes of a serialised message: larger ones are refused unread."""

from __future__ import annotations

from magma_control.config import ControllerConfig

_CHUNK_AROUND, _CHUNK_STEP = 16 * 1024, 512


def chunk_bytes(config: ControllerConfig) -> int:
    """Of an action chunk of the longest horizon that is accepted."""
    return _CHUNK_AROUND + config.max_horizon * _CHUNK_STEP
