"""The executables of an installed package."""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ..ament_index_python.packages import get_package_prefix


class ExecutableNotFoundError(LookupError):
    """A package has no executable of that name."""


@dataclass(frozen=True)
class Executable:
    """One executable: its name, the command that runs it (at least one element), and its path."""

    name: str
    command: tuple[str, ...]
    path: str


def _in_lib(package: str, prefix: str) -> dict[str, Executable]:
    """Executables in <prefix>/lib/<package>, where colcon installs them."""
    folder = Path(prefix) / "lib" / package
    if not folder.is_dir():
        return {}
    return {
        path.name: Executable(path.name, (str(path),), str(path))
        for path in sorted(folder.iterdir())
        if path.is_file() and os.access(path, os.X_OK)
    }


def _console_scripts(package: str) -> dict[str, Executable]:
    """Console scripts of the Python distribution of that name, which pip installs next to the interpreter."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = {}
    for entry in distribution.entry_points:
        if entry.group != "console_scripts":
            continue
        script = Path(sys.prefix) / "bin" / entry.name
        module, _, attribute = entry.value.partition(":")
        if script.is_file() and f"from {module.strip()} import" in script.read_text(errors="replace"):
            found[entry.name] = Executable(entry.name, (str(script),), str(script))
        else:
            # The script is missing, or another package's script of the same name has replaced it.
            call = (
                f"import sys; import {module.strip()} as module; sys.argv[0] = {entry.name!r}; "
                f"sys.exit(module.{attribute.strip()}())"
            )
            found[entry.name] = Executable(entry.name, (sys.executable, "-c", call), str(script))
    return found


def find_executables(package: str) -> dict[str, Executable]:
    """Return the executables of a package by name. Raises PackageNotFoundError."""
    prefix = get_package_prefix(package)
    return {**_console_scripts(package), **_in_lib(package, prefix)}


def find_executable(package: str, name: str) -> Executable:
    """Return one executable. Raises PackageNotFoundError, ExecutableNotFoundError (naming those there are)."""
    executables = find_executables(package)
    if name in executables:
        return executables[name]
    close = difflib.get_close_matches(name, executables, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise ExecutableNotFoundError(
        f"executable '{name}' not found in package '{package}', which has: "
        f"{', '.join(sorted(executables)) or 'no executables'}{hint}"
    )
