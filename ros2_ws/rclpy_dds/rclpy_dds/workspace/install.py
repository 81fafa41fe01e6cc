"""Makes the ament packages of a workspace usable in this Python environment, as `colcon build --symlink-install` would.

ament_python packages are installed with pip as editable, so that a change of a node's code needs no new installation;
the data files of their setup.py (launch files, configuration, the mark in the ament index) are linked into the prefix.
Of interface packages the .msg, .srv and .action files are linked; rclpy_dds reads them directly.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from .package_xml import Package, WorkspaceError, find_packages
from .setup_py import SetupInfo, read_setup_py

_INDEX = "share/ament_index/resource_index"
_RECORDS = "share/rclpy_dds/installed"
# Files that decide what pip installs: as long as they are the same, an editable installation stays valid.
_BUILD_FILES = ("setup.py", "setup.cfg", "pyproject.toml", "package.xml")


@dataclass(frozen=True)
class InstallResult:
    """What became of one package: kind "python" or "interfaces", and whether anything had to be done."""

    package: Package
    kind: str
    changed: bool


def install_workspace(folders: list[Path], prefix: Path | None = None, copy: bool = False) -> list[InstallResult]:
    """Install every package at or below `folders` and return what was done, in the order of names.

    `prefix` is sys.prefix by default; another one must be in AMENT_PREFIX_PATH to be found. With `copy` the data files
    are copied instead of linked. All packages are checked before anything is changed. Raises WorkspaceError.
    """
    prefix = Path(sys.prefix) if prefix is None else prefix.resolve()
    packages = find_packages(folders)
    for package in packages:
        if not package.is_python and not package.interface_folders:
            raise WorkspaceError(
                f"package '{package.name}' in {package.folder} is of type {package.build_type} and has no msg, srv or "
                "action folder; only ament_python packages and interface packages can be installed without ROS 2. Put "
                "a file COLCON_IGNORE next to its package.xml to leave it out"
            )
    python_packages = [package for package in packages if package.is_python]
    setups = read_setup_py(python_packages)
    _check_targets(setups)
    outdated = [package for package in python_packages if not _is_installed(package, prefix)]
    if outdated:
        _pip_install(outdated)
    results = []
    for package in packages:
        files = _interface_files(package) | _data_files(setups.get(package.name))
        texts = _index_entries(package)
        linked = _place(package, prefix, files, texts, copy)
        results.append(
            InstallResult(package, "python" if package.is_python else "interfaces", linked or package in outdated)
        )
    return results


def _check_targets(setups: dict[str, SetupInfo]) -> None:
    owners: dict[Path, str] = {}
    for name, setup in setups.items():
        for target, source in setup.data_files:
            path = Path(target) / source.name
            if owners.setdefault(path, name) != name:
                raise WorkspaceError(f"packages '{owners[path]}' and '{name}' both install {path}")


def _data_files(setup: SetupInfo | None) -> dict[Path, Path]:
    """Return {path below the prefix: source file}."""
    return {} if setup is None else {Path(target) / source.name: source for target, source in setup.data_files}


def _interface_files(package: Package) -> dict[Path, Path]:
    share = Path("share") / package.name
    files = {
        share / kind / path.name: path
        for kind in package.interface_folders
        for path in sorted((package.folder / kind).glob(f"*.{kind}"))
    }
    if package.interface_folders:
        files[share / "package.xml"] = package.folder / "package.xml"
    return files


def _index_entries(package: Package) -> dict[Path, str]:
    """Return {path below the prefix: content} of the marks by which ROS 2 tools find a package and its interfaces."""
    entries: dict[Path, str] = {}
    if not package.is_python:
        entries[Path(_INDEX) / "packages" / package.name] = ""
    interfaces = sorted(
        f"{kind}/{path.name}"
        for kind in package.interface_folders
        for path in (package.folder / kind).glob(f"*.{kind}")
    )
    if interfaces:
        entries[Path(_INDEX) / "rosidl_interfaces" / package.name] = "\n".join(interfaces) + "\n"
    return entries


def _fingerprint(package: Package) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for name in _BUILD_FILES:
        path = package.folder / name
        digest.update(name.encode() + (path.read_bytes() if path.is_file() else b"-") + b"\0")
    return digest.hexdigest()


def _is_installed(package: Package, prefix: Path) -> bool:
    """Return whether pip's editable installation of the package is there, of this folder, and up to date."""
    if _read_record(package, prefix).get("fingerprint") != _fingerprint(package):
        return False
    try:
        text = importlib.metadata.distribution(package.name).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return False
    url = json.loads(text or "{}").get("url", "")
    return Path(unquote(urlparse(url).path)) == package.folder


def _require_build_tools() -> None:
    """Raise WorkspaceError unless setuptools can make editable installations here."""
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    major, minor = (int(part) for part in [*re.findall(r"\d+", version), "0"][:2])
    # From 70.1 on setuptools brings bdist_wheel itself; 64 was the first with editable installations (PEP 660).
    if (major, minor) >= (70, 1) or (major >= 64 and importlib.util.find_spec("wheel") is not None):
        return
    raise WorkspaceError(
        f"installing ament_python packages needs setuptools >= 70.1 in this environment (found: "
        f"{'none' if version == '0' else version}); install it: {sys.executable} -m pip install 'setuptools>=70.1,<80'"
    )


def _pip_install(packages: list[Package]) -> None:
    _require_build_tools()
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
        "--use-pep517",
        *(word for package in packages for word in ("--editable", str(package.folder))),
    ]
    result = subprocess.run(command, text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        names = ", ".join(package.name for package in packages)
        raise WorkspaceError(f"pip could not install {names}:\n{(result.stderr or result.stdout).strip()}")
    importlib.invalidate_caches()


def _record_path(package: Package, prefix: Path) -> Path:
    return prefix / _RECORDS / f"{package.name}.json"


def _read_record(package: Package, prefix: Path) -> dict:
    try:
        record = json.loads(_record_path(package, prefix).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _place(package: Package, prefix: Path, files: dict[Path, Path], texts: dict[Path, str], copy: bool) -> bool:
    """Bring the files to their places, remove those of an earlier installation, and return whether that changed any."""
    changed = False
    for relative, source in files.items():
        changed |= _place_file(prefix / relative, source, copy)
    for relative, text in texts.items():
        target = prefix / relative
        if target.is_symlink() or not target.is_file() or target.read_text(encoding="utf-8") != text:
            _make_room(target)
            target.write_text(text, encoding="utf-8")
            changed = True
    record = {
        "source": str(package.folder),
        "fingerprint": _fingerprint(package),
        "files": sorted(str(path) for path in [*files, *texts]),
    }
    earlier = _read_record(package, prefix)
    for path in set(earlier.get("files", [])) - set(record["files"]):
        target = prefix / path
        if target.is_symlink() or target.is_file():
            target.unlink()
            changed = True
    if earlier != record:
        path = _record_path(package, prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        changed = True
    return changed


def _place_file(target: Path, source: Path, copy: bool) -> bool:
    if copy:
        if not target.is_symlink() and target.is_file() and target.read_bytes() == source.read_bytes():
            return False
        _make_room(target)
        shutil.copy2(source, target)
        return True
    if target.is_symlink() and os.readlink(target) == str(source):
        return False
    _make_room(target)
    target.symlink_to(source)
    return True


def _make_room(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.is_file():
        target.unlink()
