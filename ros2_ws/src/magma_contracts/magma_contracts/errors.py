"""Errors that any part of the stack raises."""

from __future__ import annotations

from magma_contracts.text import sentence


class ConfigError(ValueError):
    """A configuration value is missing, unknown, of the wrong type or out of range; the text says which and what is
    allowed. It is one line that a terminal can show, whatever it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message))
