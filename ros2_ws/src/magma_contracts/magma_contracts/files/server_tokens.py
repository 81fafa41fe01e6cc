"""Tokens that a server asks for, where it and its clients find them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import read_text
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
    source = f"token file {printable(path)}"
    try:
        token = read_text(Path(path).expanduser(), MOST_BYTES, pipes=True).strip()
    except ConfigError as error:
        raise ValueError(f"{source} {error} ({REMEDY})") from error
    except RuntimeError as error:  # the home of nobody
        raise ValueError(f"{source} cannot be read: {printable(error)}") from error
    return checked_token(token, source)


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
