"""Programs whose libraries may be missing: then they say so in one sentence."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from magma_contracts.interruption import ends_on_interrupt


def cannot_start(error: ImportError) -> str:
    """What to say when a program cannot start because of an import: what is missing, and what to do.

    A library from PyPI is missing where the environment of this repository is not the one that runs, as on a ROS 2 with
    the system's Python.
    """
    missing = isinstance(error, ModuleNotFoundError) and error.name is not None
    what = f"{sys.executable} has no package {error.name}" if missing else f"an import failed: {error}"
    remedy = "source the environment that `./run setup --ros2` has made (docs/ros2.md), or use `./run shell`"
    return f"{Path(sys.argv[0]).name} cannot start: {what}; {remedy}"


def program_of(modules: Mapping[str, str]) -> Callable[[], object]:
    """The entry point of several programs: calls the `main` of the module that belongs to the name it was started by.

    The module is imported then only. An import that fails ends the program with status 1 and a sentence.

    Args:
        modules: by the program's name.
    """

    def main() -> object:
        name = Path(sys.argv[0]).stem
        if name not in modules:
            sys.exit(f"{sys.argv[0]} is no program of this package, which has: {', '.join(modules)}")
        # A node heeds signals itself, from its `main` on; a command, and an import that takes long, may be interrupted.
        with ends_on_interrupt(name):
            try:
                module = importlib.import_module(modules[name])
            except ImportError as error:
                sys.exit(cannot_start(error))
            return module.main()

    return main
