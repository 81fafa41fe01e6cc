#!/usr/bin/env python3
"""Compares the public names of ROS 2's Python libraries with those of rclpy_dds.

    python ros2_ws/rclpy_dds/tests/names_table.py --write

puts the table of what is missing into docs/coverage.md. The names of the real libraries come from a recording
(tests/interop/record.py), so no ROS 2 is needed.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/coverage.md"
REAL_NAMES = ROOT / "tests/interop/golden/jazzy_names.json"
BEGIN, END = "<!-- names: begin -->\n", "<!-- names: end -->\n"
# Members that have no meaning here: XML and YAML launch files, and how rclpy's executor talks to rcl's wait set.
INTERNAL = frozenset(
    {"parse", "add_to_wait_set", "get_num_entities", "is_ready", "take_data", "add_future", "remove_future"}
)


class Missing(NamedTuple):
    """What one module lacks."""

    module: str
    names: list[str]
    members: list[str]
    total: int


def is_self(node: ast.expr) -> bool:
    """Whether an expression is ``self``."""
    return isinstance(node, ast.Name) and node.id == "self"


@functools.cache
def attributes_set_in(path: str) -> dict[str, set[str]]:
    """The attributes of ``self`` that each class of a file mentions."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    return {
        cls.name: {node.attr for node in ast.walk(cls) if isinstance(node, ast.Attribute) and is_self(node.value)}
        for cls in tree.body
        if isinstance(cls, ast.ClassDef)
    }


def own_members(cls: type) -> set[str]:
    """Members of a class, with those that its methods set."""
    members = set(dir(cls))
    for base in cls.__mro__[:-1]:
        file = getattr(sys.modules.get(base.__module__), "__file__", None)
        members |= attributes_set_in(file).get(base.__name__, set()) if file else set()
    return members


def real_names() -> dict[str, dict[str, list[str] | None]]:
    """Names of the real libraries: module -> name -> members of a class, None for a function."""
    return json.loads(REAL_NAMES.read_text(encoding="utf-8"))["modules"]


def own(module: str, name: str) -> Any:
    """A name of rclpy_dds, None when it is missing or refused."""
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, NotImplementedError):
        return None


def is_part_of_package(module: str, names: dict) -> bool:
    """Whether a module is below a package of launch that exports all of it, as most modules with one class are."""
    parent = module.rpartition(".")[0]
    return parent.count(".") >= 1 and all(own(parent, name) is not None for name in names)


def missing() -> list[Missing]:
    """What rclpy_dds lacks, module by module."""
    found = []
    reported: set[str] = set()
    for module, names in real_names().items():
        lacking = [name for name in names if own(module, name) is None and name not in reported]
        if lacking and is_part_of_package(module, names):
            continue
        members: list[str] = []
        for name, real_members in names.items():
            cls = own(module, name)
            if not real_members or not inspect.isclass(cls) or f"{cls.__module__}.{name}" in reported:
                continue
            reported.add(f"{cls.__module__}.{name}")
            known = own_members(cls) | INTERNAL
            absent = [member for member in real_members if member not in known and not hasattr(cls, member)]
            # Whether a class of an enumeration shows these differs between versions of Python.
            members += [f"{name}.{member}" for member in absent if member not in ("name", "value")]
        reported.update(lacking)
        if lacking or members:
            found.append(Missing(module, lacking, members, len(names)))
    return found


def table() -> str:
    """The table in Markdown."""
    lines = ["| module | names that are missing | members that are missing |", "|---|---|---|"]
    for entry in missing():
        cells = [", ".join(f"`{name}`" for name in names) for names in (entry.names, entry.members)]
        lines.append(f"| `{entry.module}` | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """The page's text with the table in its place."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{table()}{END}{tail}"


def main() -> None:
    if "--write" in sys.argv:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()
