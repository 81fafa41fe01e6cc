"""The operator's terminal, key by key, and always put back as it was."""

from __future__ import annotations

import atexit
import os
import select
import shutil
import sys
import termios
from collections.abc import Sequence
from typing import Any

from magma_contracts.errors import ConfigError

BRACKETED_PASTE_ON, BRACKETED_PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"
"""The terminal puts marks around what is pasted, so that it is not taken for keys (xterm, "Bracketed Paste Mode")."""


class TerminalClosedError(RuntimeError):
    """The terminal went away."""


class KeyTerminal:
    """Standard input without line editing and echo, while it is open. Ctrl-C still interrupts."""

    def __init__(self) -> None:
        """
        Raises:
            ConfigError: standard input is not a terminal.
        """
        self._fd = sys.stdin.fileno()
        self._shown = 1
        if not os.isatty(self._fd):
            raise ConfigError(
                "keyboard_teleop reads keys from a terminal, but its standard input is none; "
                "run `ros2 run magma_teleop keyboard_teleop` in a terminal of its own (ros2 launch gives nodes none)"
            )
        self._saved: list[Any] | None = termios.tcgetattr(self._fd)
        raw = termios.tcgetattr(self._fd)
        # Ctrl-S must not freeze the screen, Ctrl-Z must not leave a shell behind in this mode; signals stay on.
        raw[0] &= ~(termios.IXON | termios.ICRNL)
        raw[3] &= ~(termios.ICANON | termios.ECHO)
        raw[6][termios.VMIN], raw[6][termios.VTIME] = b"\x01", b"\x00"
        raw[6][termios.VSUSP] = b"\x00"
        atexit.register(self.close)
        termios.tcsetattr(self._fd, termios.TCSADRAIN, raw)
        _write(BRACKETED_PASTE_ON)

    def read(self) -> bytes:
        """What was typed since the last call; empty when nothing was.

        Raises:
            TerminalClosedError: the terminal was closed.
        """
        if not select.select([self._fd], [], [], 0.0)[0]:
            return b""
        try:
            data = os.read(self._fd, 1024)
        except OSError as error:
            raise TerminalClosedError(f"the terminal was closed ({error.strerror})") from error
        if not data:
            raise TerminalClosedError("the terminal was closed")
        return data

    @property
    def width(self) -> int:
        """Columns."""
        return shutil.get_terminal_size().columns

    def show_lines(self, lines: Sequence[str]) -> None:
        """Replaces the status. The last column stays free: some terminals wrap when it is written."""
        _write(self._to_status() + "\r\n".join(lines))
        self._shown = len(lines)

    def print_lines(self, lines: Sequence[str]) -> None:
        """Writes lines above the status, which has to be shown again."""
        _write(self._to_status() + "".join(line + "\r\n" for line in lines))
        self._shown = 1

    def _to_status(self) -> str:
        """Goes to where the status begins, and clears what is below."""
        up = f"\x1b[{self._shown - 1}A" if self._shown > 1 else ""
        return f"\r{up}\x1b[J"

    def close(self) -> None:
        """Puts the terminal back as it was; safe to call again."""
        saved, self._saved = self._saved, None
        if saved is None:
            return
        try:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)
            _write(BRACKETED_PASTE_OFF + "\r\n")
        except (OSError, termios.error):
            # The terminal is gone: there is nothing left to restore.
            pass
        atexit.unregister(self.close)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
