"""Imports everything that the program will ever import, so that what cannot be imported is found during set-up.

    .venv/bin/python setup/imports.py

What is imported is read from the sources, wherever in them it stands: many libraries are only imported by the node or
command that needs them. Each library is imported in a process of its own, because one that comes later would find the
shared libraries that an earlier one has brought along (PyTorch's libgomp hid that Pinocchio had none). Those built on
PyTorch share one, which saves half of the time.

A program that a library brings along is started as well: the dynamic linker finds its libraries only then.

Prints a line for each library, and exits with status 1 if one of them cannot be imported.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("policy", "sim", "ros2_ws/rclpy_dds/rclpy_dds", "ros2_ws/src")
LOADED_BY_NAME = ("cyclonedds", "daqp")
"""Used without an import statement: libddsc by path, the solver by qpsolvers."""
OPTIONAL = frozenset({
    "bitsandbytes", "cotracker", "fastapi", "foxglove", "nicegui", "peft", "pycocoevalcap", "ray", "spacy", "starlette",
    "uvicorn",
})  # fmt: skip
"""Extras, checked where they are installed."""
ELSEWHERE = frozenset({"mani_skill2_real2sim", "ros2cli", "simpler_env"})
"""Imported in other environments: the original SimplerEnv's, and one with a ROS 2 (its `ros2` command)."""
PROGRAMS = {"playwright": "driver/node"}
"""Programs in the folders of libraries, which know --version."""
PROGRAM_S = 60.0
BUILT_ON_TORCH = frozenset({"bitsandbytes", "cotracker", "mani_skill", "peft", "safetensors", "torch", "transformers"})


def imported_names(source: str) -> Iterator[str]:
    """The modules that a source text imports, anywhere in it, by their full names.

    Left out are relative imports, and what only a type checker reads: such modules need not exist.
    """
    nodes: list[ast.AST] = [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
        only_types = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        nodes += node.orelse if isinstance(node, ast.If) and only_types else ast.iter_child_nodes(node)


def needed(sources: Iterable[Path], own: frozenset[str]) -> dict[str, list[str]]:
    """The modules that Python files need from outside the standard library, by top-level name, sorted.

    Args:
        sources: the files.
        own: top-level names of this project, whose modules only import what is found here anyway.
    """
    names = {name for path in sources for name in imported_names(path.read_text(encoding="utf-8"))}
    found: dict[str, list[str]] = {}
    for name in sorted(names | set(LOADED_BY_NAME)):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in own or top in ELSEWHERE:
            continue
        if top in OPTIONAL and importlib.util.find_spec(top) is None:
            continue
        found.setdefault(top, []).append(name)
    return found


def try_imports(libraries: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Imports modules in a process of their own.

    Yields:
        Each library, once it was tried, and what went wrong with it in one line; an empty text where nothing did.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        # Some libraries are talkative when they are imported.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        warnings.simplefilter("ignore")
        with os.fdopen(writer, "w", encoding="utf-8") as answers:
            for top, names in libraries.items():
                print(f"{top}\t{_problem(names) or _program_problem(top)}", file=answers, flush=True)
        os._exit(0)
    os.close(writer)
    left = list(libraries)
    with os.fdopen(reader, encoding="utf-8") as answers:
        for line in answers:
            top, text = line.rstrip("\n").split("\t", 1)
            left.remove(top)
            yield top, text
    _, status = os.waitpid(child, 0)
    for top in left:
        yield top, f"the import ended the process (status {status})"


def _problem(names: Iterable[str]) -> str:
    try:
        for name in names:
            importlib.import_module(name)
    except BaseException as error:  # whatever it is, it cannot be imported
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _program_problem(top: str) -> str:
    if top not in PROGRAMS:
        return ""
    program = Path(str(sys.modules[top].__file__)).parent / PROGRAMS[top]
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=PROGRAM_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    if done.returncode == 0:
        return ""
    return (done.stderr.strip() or f"{program} ended with status {done.returncode}").splitlines()[0]


def main() -> int:
    """Exit status: 0 when everything can be imported."""
    files = [path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))]
    own = frozenset(path.parent.name for path in files if path.name == "__init__.py")
    libraries = needed(files, own)
    together = {top: names for top, names in libraries.items() if top in BUILT_ON_TORCH}
    alone = [{top: names} for top, names in libraries.items() if top not in BUILT_ON_TORCH]
    failed: list[str] = []
    for group in (*alone, together):
        for top, problem in try_imports(group):
            print(f"{top}: {problem or 'ok'}", flush=True)
            failed += [f"{top} cannot be imported: {problem}"] if problem else []
    # Once more: set-up shows the last lines.
    print(*failed, sep="\n", end="\n" if failed else "")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
