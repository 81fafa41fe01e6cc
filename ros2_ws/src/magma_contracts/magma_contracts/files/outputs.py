"""Where a command is told to write: tried before it begins its work, which may take hours."""

from __future__ import annotations

import tempfile
from pathlib import Path

from magma_contracts.errors import ConfigError


class OutputError(ConfigError):
    """A command cannot write where it was told to."""


def check_folder(path: Path, option: str) -> None:
    """Tries whether files can be written in a folder that is there, or that can be made. Leaves nothing behind.

    Args:
        path: the folder.
        option: as the command line names it, such as `--out`.

    Raises:
        OutputError: they cannot, and why.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{option} {path} is a file; give a folder")
    _try_to_write(path, f"{option} {path}")


def check_file(path: Path, option: str) -> None:
    """The same for a file, which may be there already and whose folder is made."""
    if path.is_dir():
        raise OutputError(f"{option} {path} is a folder; give the name of a file")
    _try_to_write(path.parent, f"{option} {path}")
    if path.exists():
        try:
            path.open("ab").close()
        except OSError as error:
            raise OutputError(f"{option} {path} cannot be written: {error.strerror}") from error


def explained(error: Exception) -> str:
    """An error in words; one of the operating system without its number: which file, and what is the matter with it."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror


def _try_to_write(folder: Path, what: str) -> None:
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"{what} cannot be made: {folder} is a file")
    try:
        if missing:
            missing[-1].mkdir()
            missing[-1].rmdir()
        else:
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OutputError(f"{what} cannot be written: {folder}: {error.strerror}") from error
