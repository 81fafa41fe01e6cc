"""What installing needs to know of a package.xml (REP 149) and of the folder around it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

INTERFACE_FOLDERS = ("msg", "srv", "action")
# Folders that colcon writes or that say by a marker that they hold no packages to build.
_SKIPPED_FOLDERS = frozenset({"build", "install", "log", "__pycache__", "node_modules"})
_IGNORE_MARKERS = ("COLCON_IGNORE", "AMENT_IGNORE", "CATKIN_IGNORE")
_NAME = re.compile(r"[a-z][a-z0-9_-]*")


class WorkspaceError(Exception):
    """A workspace cannot be installed; the message says which package, why, and what to do."""


@dataclass(frozen=True)
class Package:
    """A package of a workspace: its name, its folder, how colcon builds it, and which interface folders it has."""

    name: str
    folder: Path
    build_type: str
    interface_folders: tuple[str, ...]

    @property
    def is_python(self) -> bool:
        """Whether setup.py installs it."""
        return self.build_type == "ament_python"


def read_package(folder: Path) -> Package:
    """Read <folder>/package.xml. Raises WorkspaceError when it is not usable."""
    path = folder / "package.xml"
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError) as error:
        raise WorkspaceError(f"{path} cannot be read: {error}") from error
    name = (root.findtext("name") or "").strip()
    if root.tag != "package" or not _NAME.fullmatch(name):
        raise WorkspaceError(
            f"{path}: expected <package> with a <name> of lower-case letters, digits and _, got {name!r}"
        )
    build_type = (root.findtext("export/build_type") or "catkin").strip()
    return Package(
        name=name,
        folder=folder,
        build_type=build_type,
        interface_folders=tuple(kind for kind in INTERFACE_FOLDERS if (folder / kind).is_dir()),
    )


def find_packages(folders: list[Path]) -> list[Package]:
    """Return the packages at or below the folders, sorted by name.

    Raises WorkspaceError when a folder does not exist, holds none, or a name occurs twice.
    """
    found: dict[str, Package] = {}
    for top in folders:
        if not top.is_dir():
            raise WorkspaceError(f"'{top}' is not a folder; give the src folder of a workspace")
        before = len(found)
        for folder, subfolders, files in os.walk(top, followlinks=True):
            if any(marker in files for marker in _IGNORE_MARKERS):
                subfolders.clear()
                continue
            subfolders[:] = sorted(s for s in subfolders if not s.startswith(".") and s not in _SKIPPED_FOLDERS)
            if "package.xml" not in files:
                continue
            subfolders.clear()
            package = read_package(Path(folder).resolve())
            other = found.get(package.name)
            if other is not None and other.folder != package.folder:
                raise WorkspaceError(
                    f"package '{package.name}' is found twice: in {other.folder} and in {package.folder}; put a file "
                    "COLCON_IGNORE into one of them"
                )
            found[package.name] = package
        if len(found) == before and not any(package.folder.is_relative_to(top.resolve()) for package in found.values()):
            raise WorkspaceError(f"no package.xml at or below '{top}'")
    return sorted(found.values(), key=lambda package: package.name)
