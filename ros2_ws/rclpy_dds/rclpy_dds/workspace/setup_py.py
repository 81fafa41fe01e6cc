"""Reads what a package's setup.py declares, by running it up to the call of setup() in an interpreter of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .package_xml import Package, WorkspaceError

_REPORT = "RCLPY_DDS_SETUP:"
_SCRIPT = f"""
import json, sys
import setuptools
import distutils.core
distribution = distutils.core.run_setup("setup.py", script_args=["--quiet"], stop_after="init")
print({_REPORT!r} + json.dumps({{
    "name": distribution.get_name(),
    "data_files": [
        ["", [entry]] if isinstance(entry, str) else [entry[0], list(entry[1])]
        for entry in distribution.data_files or []
    ],
}}))
"""


@dataclass(frozen=True)
class SetupInfo:
    """Declared name, and the data files as (target folder below the prefix, source file) pairs."""

    name: str
    data_files: tuple[tuple[str, Path], ...]


def read_setup_py(packages: list[Package]) -> dict[str, SetupInfo]:
    """Return what each package's setup.py declares, by package name. Raises WorkspaceError."""
    running = {}
    for package in packages:
        if not (package.folder / "setup.py").is_file():
            raise WorkspaceError(
                f"package '{package.name}' is of type ament_python but {package.folder} has no setup.py"
            )
        running[package.name] = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT],
            cwd=package.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
    outputs = {name: (process, *process.communicate()) for name, process in running.items()}
    result = {}
    for package in packages:
        process, output, errors = outputs[package.name]
        line = next((line for line in output.splitlines() if line.startswith(_REPORT)), None)
        if process.returncode != 0 or line is None:
            if "No module named 'setuptools'" in errors:
                raise WorkspaceError(
                    f"setuptools is missing in this environment; install it: {sys.executable} -m pip install "
                    "'setuptools>=68'"
                )
            raise WorkspaceError(f"setup.py of package '{package.name}' failed:\n{errors.strip() or output.strip()}")
        report = json.loads(line.removeprefix(_REPORT))
        result[package.name] = _checked(package, report)
    return result


def _checked(package: Package, report: dict) -> SetupInfo:
    setup_py = package.folder / "setup.py"
    if report["name"] != package.name:
        raise WorkspaceError(
            f"{setup_py} declares the name '{report['name']}', but package.xml says '{package.name}'; they must agree"
        )
    files = []
    for target, sources in report["data_files"]:
        if Path(target).is_absolute() or ".." in Path(target).parts:
            raise WorkspaceError(f"{setup_py}: data_files target '{target}' must be a relative path below the prefix")
        for source in sources:
            path = package.folder / source
            if not path.is_file():
                raise WorkspaceError(f"{setup_py}: data_files names '{source}', which is no file")
            files.append((target, path.resolve()))
    return SetupInfo(package.name, tuple(files))
