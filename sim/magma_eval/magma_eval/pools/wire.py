"""Messages between evaluator and worker processes: one JSON object per line over a pipe each way.

evaluator -> worker: setup, episode, stop.   worker -> evaluator: ready, alive, result, failed.
"""

from __future__ import annotations

import json
import os
from typing import Any

Message = dict[str, Any]
MAX_LINE_BYTES = 16 * 2**20


class BrokenWireError(RuntimeError):
    """What came over the pipe is not a message."""


def send(descriptor: int, kind: str, **content: Any) -> None:
    """Writes one message; BrokenPipeError when the other side is gone."""
    data = (json.dumps({"kind": kind, **content}, allow_nan=False) + "\n").encode()
    while data:
        data = data[os.write(descriptor, data) :]


class LineReader:
    """Cuts what arrives into messages.

    Args:
        descriptor: file descriptor to read from; the caller closes it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""
        self.ended = False
        """whether the other side has closed"""

    def read(self) -> list[Message]:
        """Reads once, waiting for data if the descriptor waits, and returns the messages complete by then.

        Raises:
            BrokenWireError: a line that is no message, or one without end.
        """
        try:
            data = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return []
        if not data:
            self.ended = True
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > MAX_LINE_BYTES:
            raise BrokenWireError(f"a message is longer than {MAX_LINE_BYTES} bytes")
        return [_message(line) for line in lines if line]


def _message(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise BrokenWireError(f"not a message: {line[:200]!r}") from error
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise BrokenWireError(f"not a message: {line[:200]!r}")
    return message
