"""How large messages from others may be, in bytes of a serialised message: larger ones are refused unread.

Generous for what is meant, and small enough that reading one holds up nobody for long.
"""

from __future__ import annotations

SMALL = 2048
"""One motion, one pose, one sign of life."""
TEXT = 16 * 1024
"""An instruction, an action spec, a report of the controller, the axes and buttons of a device."""
JOINTS = 64 * 1024
"""Positions, speeds and efforts of some hundred joints with their names."""
TRANSFORMS = 1024 * 1024
"""All frames of a large robot, or of several, in one message."""
