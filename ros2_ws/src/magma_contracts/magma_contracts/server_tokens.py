"""The token that a model's server asks for, where its clients find it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

TOKEN_VARIABLE = "MAGMA_SERVE_TOKEN"
"""The environment's variable for it."""


def read_token(path: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The server's token from a file, or from MAGMA_SERVE_TOKEN. Raises ValueError when the file cannot be read."""
    if not path:
        return (os.environ if environment is None else environment).get(TOKEN_VARIABLE) or None
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"token file {path} cannot be read: {error}") from error
