"""How large the controller's inputs may be, in bytes of a serialised message: larger ones are refused unread.

Generous for what is meant, and small enough that reading one holds up nobody for long.
"""

from __future__ import annotations

from magma_control.config import ControllerConfig

SMALL = 2048
"""One motion, one pose, one sign of life."""
TEXT = 16 * 1024
"""An instruction, an action spec, a report of the controller."""
JOINTS = 64 * 1024
"""Positions, speeds and efforts of some hundred joints with their names."""
_CHUNK_AROUND, _CHUNK_STEP = 16 * 1024, 512


def chunk_bytes(config: ControllerConfig) -> int:
    """Of an action chunk of the longest horizon that is accepted."""
    return _CHUNK_AROUND + config.max_horizon * _CHUNK_STEP
