"""Where a policy's checkpoint lies, for whoever starts a server, a node or an evaluation with it."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path

# huggingface.co's own rule for repository names, with an optional revision behind an @.
HUB_ID = re.compile(r"(?P<repository>[\w.-]{1,96}/[\w.-]{1,96})(?:@(?P<revision>[\w./-]+))?")
ENVIRONMENT_VARIABLE = "MAGMA_CHECKPOINTS"
"""Folders to search for checkpoints by name, separated as in PATH; they go before those that ship with the policy."""


PREFIXES = ("magma:", "openvla:")
"""May stand before the name or folder of a checkpoint, to say that it is one; its config.json says of which family."""


class CheckpointNotFoundError(ValueError):
    """No such checkpoint; the message says where it was looked for."""


def search_folders(environment: Mapping[str, str] | None = None) -> list[Path]:
    """Folders whose subfolders are checkpoints: from the environment, then the shipped ones."""
    variable = (os.environ if environment is None else environment).get(ENVIRONMENT_VARIABLE, "")
    folders = [Path(entry) for entry in variable.split(os.pathsep) if entry]
    package = importlib.util.find_spec("magma_policy")
    if package is not None and package.origin is not None:
        inside = Path(package.origin).parent
        # Installed from a source tree the folder stands beside the package, in a wheel within it.
        folders += [inside.parent / "checkpoints", inside / "checkpoints"]
    return folders


def without_prefix(name: str) -> str:
    """The name or folder of a checkpoint, without the one of `PREFIXES` that may stand before it."""
    return next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)


def find_checkpoint(name: str, environment: Mapping[str, str] | None = None) -> Path:
    """Folder of a checkpoint given by path, or by name such as ``magma-tiny``; with one of `PREFIXES` before it or not.

    Raises:
        CheckpointNotFoundError: nothing of that name or path.
    """
    if not Path(name).is_dir():
        name = without_prefix(name)
    if not name.strip():
        raise CheckpointNotFoundError("no checkpoint given; name one (magma-tiny) or give its folder")
    direct = Path(name).expanduser()
    if direct.is_dir():
        return direct
    folders = search_folders(environment)
    if os.sep not in name:
        for folder in folders:
            if (folder / name).is_dir():
                return folder / name
    available = sorted(
        {entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir() if entry.is_dir()}
    )
    looked = ", ".join(str(folder) for folder in folders) or f"nowhere ({ENVIRONMENT_VARIABLE} is not set)"
    raise CheckpointNotFoundError(
        f"no checkpoint {name!r}: not a folder, and not in {looked}; there: {', '.join(available) or 'none'}"
    )


def locate(name: str, environment: Mapping[str, str] | None = None) -> Path | str:
    """As `find_checkpoint`, but `owner/name` of the Hugging Face Hub comes back as it is when there is no such folder.

    Raises:
        CheckpointNotFoundError: none of the three.
    """
    try:
        return find_checkpoint(name, environment)
    except CheckpointNotFoundError:
        name = without_prefix(name)
        if HUB_ID.fullmatch(name) and not name.startswith((".", "~")):
            return name
        raise
