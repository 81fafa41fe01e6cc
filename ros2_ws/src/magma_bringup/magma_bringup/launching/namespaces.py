"""Where the nodes of a launch lie, and their parameter files there."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from magma_bringup.launching.parameter_file import write_for_namespace
from magma_contracts.errors import ConfigError

NONE = "/"
_NAMESPACE = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")


def full_namespace(given: str, pushed: str = "") -> str:
    """The namespace of a launch's nodes, beginning with a slash; `NONE` alone if there is none.

    Args:
        given: `left`, `cell/left`, or with a slash in front to lie below nothing; empty = no more than `pushed`.
        pushed: namespace of the launch file around this one (PushRosNamespace).

    Raises:
        ConfigError: no namespace.
    """
    joined = given if given.startswith("/") else f"{pushed.rstrip('/')}/{given}"
    namespace = "/" + joined.strip("/")
    if namespace != NONE and not _NAMESPACE.fullmatch(namespace):
        raise ConfigError(
            f"namespace:={given} is no namespace: letters, digits and _, no digit first, such as left or cell/left"
        )
    return namespace


def files_in_namespace(files: Sequence[str], namespace: str) -> list[str]:
    """Parameter files that name the nodes of a launch as they are called there; written ones are removed when this
    process ends.

    Raises:
        ConfigError: a file of which a node would miss a part.
    """
    if namespace == NONE:
        return list(files)
    folder = Path(tempfile.mkdtemp(prefix="magma_parameters_"))
    # Nodes read them when they start, and end before the launch does.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [str(write_for_namespace(Path(file), namespace, folder)) for file in files]
