"""Who an operator is: the device, and which of several programs that read one."""

from __future__ import annotations

import os
import secrets
import socket

_TOKEN = secrets.token_hex(2)
"""Process ids repeat: in another container, or after a restart."""


def operator_identity(device: str) -> str:
    """The name under which this process sends an operator's commands, such as `keyboard@robot-pc:4711-9f3a`: the
    controller tells two keyboards apart by it, and a person finds the process that has the arm."""
    return f"{device}@{socket.gethostname()}:{os.getpid()}-{_TOKEN}"
