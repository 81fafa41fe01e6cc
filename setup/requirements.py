"""Says what has to be installed from the package index, as pip takes it: what every distribution of this repository
declares, the tools of the tests, and the extras that are asked for (`all` for all of them).

    .venv/bin/python setup/requirements.py [--unlocked | --workspace] [EXTRA …]

Three things are left out. What this repository holds itself is on no index, where anybody could take its name. PyTorch
comes from an index of its own; what it needs is named here once it is installed. What setup/constraints.txt does not
pin, because somebody forgot to write it anew, is only named with --unlocked, and alone. With --workspace it is what the
packages in ros2_ws/src alone declare, for an environment on a ROS 2 installation.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; pip brings it along
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = ("policy", "policy/client", "sim", "sim/magma_eval", "ros2_ws/rclpy_dds")
TOOLS = ("setup/build_tools.txt", "tests/requirements.txt")
EXTRA_FILES = {"docs": "setup/docs.txt"}
CONSTRAINTS = "setup/constraints.txt"
ALL = "all"


def name_of(requirement: str) -> str:
    """The distribution that a requirement names, as indexes write it: `Foo_Bar[extra]>=1` is foo-bar."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;(@]", requirement.strip(), maxsplit=1)[0]).lower()


def is_own(requirement: str) -> bool:
    """Whether the repository holds it itself."""
    return name_of(requirement).startswith(("magma-", "rclpy-dds"))


def lines_of(path: Path) -> list[str]:
    """The requirements in a text file, without comments."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def of_setup_py(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """The dependencies and the extras in a setup.py, which give them as literals."""
    found: dict[str, Any] = {"install_requires": [], "extras_require": {}}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.keyword) and node.arg in found:
            found[node.arg] = ast.literal_eval(node.value)
    return found["install_requires"], found["extras_require"]


def declared(root: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The dependencies and the extras of everything in the repository."""
    dependencies = [line for path in TOOLS for line in lines_of(root / path)]
    extras = {name: lines_of(root / path) for name, path in EXTRA_FILES.items()}
    parts: list[tuple[list[str], Mapping[str, list[str]]]] = []
    for folder in PROJECTS:
        project = tomllib.loads((root / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        parts.append((project["dependencies"], project.get("optional-dependencies", {})))
    parts += of_workspace(root)
    for needs, further in parts:
        dependencies += needs
        for name, extra in further.items():
            extras.setdefault(name, []).extend(extra)
    extras[ALL] = [line for extra in extras.values() for line in extra]
    return dependencies, extras


def of_workspace(root: Path) -> list[tuple[list[str], dict[str, list[str]]]]:
    """The dependencies and the extras of each package in ros2_ws/src."""
    return [of_setup_py(path.read_text(encoding="utf-8")) for path in sorted(root.glob("ros2_ws/src/*/setup.py"))]


def of_torch() -> Iterator[str]:
    """What the installed PyTorch needs; the CUDA build's own libraries come with it."""
    try:
        needs = importlib.metadata.requires("torch") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for need in needs:
        if "extra ==" not in need and not name_of(need).startswith(("nvidia-", "cuda-", "triton")):
            yield need.partition(";")[0].strip()


def locked_names(constraints: Path) -> set[str]:
    """The distributions that a file of constraints pins."""
    return {name_of(line) for line in lines_of(constraints) if "==" in line}


def wanted(root: Path, names: Iterable[str]) -> list[str]:
    """The requirements of everything in the repository and of some extras. Raises KeyError for an unknown extra."""
    dependencies, extras = declared(root)
    lines = [*dependencies, *(line for name in names for line in extras[name]), *of_torch()]
    return [*dict.fromkeys(line for line in lines if name_of(line) != "torch" and not is_own(line))]


def wanted_by_workspace(root: Path, names: Iterable[str]) -> list[str]:
    """The requirements of the packages in ros2_ws/src, and what belongs there to some extras."""
    chosen = set(names)
    lines = [
        line
        for needs, extras in of_workspace(root)
        for line in [*needs, *(line for name, extra in extras.items() if name in chosen for line in extra)]
    ]
    return [*dict.fromkeys(line for line in lines if not is_own(line))]


def main(words: list[str]) -> int:
    """Exit status: 2 for an unknown extra."""
    mode = words[0] if words[:1] in (["--unlocked"], ["--workspace"]) else ""
    names = words[bool(mode) :]
    extras = declared(ROOT)[1]
    unknown = [name for name in names if name not in extras]
    if unknown:
        print(f"there is no extra {unknown[0]!r}; there are {', '.join(sorted(extras))}", file=sys.stderr)
        return 2
    if mode == "--workspace":
        print(*wanted_by_workspace(ROOT, names), sep="\n")
        return 0
    locked = locked_names(ROOT / CONSTRAINTS)
    for line in wanted(ROOT, names):
        if (name_of(line) in locked) != (mode == "--unlocked"):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
