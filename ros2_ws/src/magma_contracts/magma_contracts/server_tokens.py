"""Tokens that a server asks for, where it and its clients find them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from magma_contracts.text import printable

TOKEN_VARIABLE = "MAGMA_SERVE_TOKEN"
"""The environment's variable for the token of a model's server."""
MOST_BYTES = 4096
"""Of a token's file: what is longer is another file, or has no end."""
REMEDY = "`openssl rand -hex 16` makes a token"


def read_token(path: str, environment: Mapping[str, str] | None = None, variable: str = TOKEN_VARIABLE) -> str | None:
    """A server's token from a file, or from a variable of the environment; None where neither is given.

    Raises:
        ValueError: the file cannot be read, or what is there is no token; one line that does not tell what it holds.
    """
    if path:
        return token_from_file(path)
    token = (os.environ if environment is None else environment).get(variable)
    return checked_token(token, variable) if token else None


def token_from_file(path: str | Path) -> str:
    """The token that is the one line of a file; ValueError as `read_token`."""
    shown = printable(path)
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"token file {shown} cannot be read: {printable(error)}") from error
    if len(data) > MOST_BYTES:
        raise ValueError(f"token file {shown} has more than {MOST_BYTES} bytes: is it another file? {REMEDY}")
    try:
        # An editor's mark of UTF-8 in front is no part of what was meant.
        token = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError(f"token file {shown} is not UTF-8 text: save it as such, or {REMEDY}") from None
    return checked_token(token, f"token file {shown}")


def checked_token(token: str, source: str) -> str:
    """The token; ValueError unless it is one line of printable ASCII, as it travels in a header.

    Args:
        source: where it comes from, for the error.
    """
    if not token:
        raise ValueError(f"{source} is empty: write a token into it ({REMEDY})")
    if not token.isascii() or not token.isprintable():
        raise ValueError(f"{source} holds {len(token)} characters that are not one line of printable ASCII ({REMEDY})")
    return token
