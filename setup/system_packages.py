"""Says which packages of Debian or Ubuntu this machine lacks, one per line: what set-up installs, or asks for.

    python3 setup/system_packages.py [--vulkan | --tests]

Runs with the system's Python before anything is downloaded, so it uses the standard library alone. A package that has
to come from Debian's backports is written as apt-get takes it: `mesa-vulkan-drivers/bookworm-backports`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

LIBRARIES = {
    "libGL.so.1": "libgl1",  # OpenCV
    "libglib-2.0.so.0": "libglib2.0-0",  # OpenCV; also the name that Ubuntu 24.04's libglib2.0-0t64 answers to
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libxcb.so.1": "libxcb1",  # OpenCV
    "libX11.so.6": "libx11-6",  # SAPIEN
    "libgomp.so.1": "libgomp1",  # Pinocchio
    "libatomic.so.1": "libatomic1",  # Playwright's driver, a Node.js
}
"""Shared libraries that wheels need and do not bring along, and the package that has each."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Programs, one of which the tests of the operator's page need; as tests/browser/conftest.py looks for them."""

VULKAN_DRIVERS = "mesa-vulkan-drivers"
OLDEST_MESA = 23
"""Mesa 22.3, as Debian 12 has it, lacks a descriptor feature that SAPIEN needs."""


def loads(library: str) -> bool:
    """Whether the dynamic linker finds a shared library and all that it needs."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def driver_manifests(environment: Mapping[str, str]) -> Iterator[Path]:
    """The manifests of Vulkan drivers, where the Vulkan loader looks for them."""
    named = environment.get("VK_DRIVER_FILES") or environment.get("VK_ICD_FILENAMES")
    if named:
        yield from map(Path, named.split(os.pathsep))
        return
    home = environment.get("HOME", "/")
    folders = [
        *(environment.get("XDG_CONFIG_HOME") or f"{home}/.config").split(os.pathsep),
        *(environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep),
        "/usr/local/etc",
        "/etc",
        *(environment.get("XDG_DATA_HOME") or f"{home}/.local/share").split(os.pathsep),
        *(environment.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(os.pathsep),
    ]
    for folder in folders:
        yield from sorted(Path(folder, "vulkan", "icd.d").glob("*.json"))


def has_vulkan_driver(manifests: Iterator[Path], mesa: int | None, can_load: Callable[[str], bool] = loads) -> bool:
    """Whether there is a driver that may render: one of Mesa's that is new enough, or somebody else's.

    Whether it does render is only known when SAPIEN is installed; `./run` tries it then.

    Args:
        manifests: what `driver_manifests` found.
        mesa: the major version of Mesa's drivers; None when they are not installed as a package.
        can_load: whether the dynamic linker finds a library.
    """
    for manifest in manifests:
        try:
            library = json.loads(manifest.read_text(encoding="utf-8"))["ICD"]["library_path"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        # A path with a slash is relative to the manifest; a name without is searched for.
        if "/" in library:
            library = str(manifest.parent / library)
        if mesa is not None and mesa < OLDEST_MESA and _is_mesa(library):
            continue
        if can_load(library):
            return True
    return False


def _is_mesa(library: str) -> bool:
    return Path(library).name.startswith("libvulkan_")


def mesa_version() -> int | None:
    """The major version of Mesa's Vulkan drivers; None when there is no such package, or no dpkg."""
    command = ["dpkg-query", "--show", "--showformat=${Version}", VULKAN_DRIVERS]
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    number = text.rpartition(":")[2].partition(".")[0]
    return int(number) if number.isdigit() else None


def distribution(path: Path = Path("/etc/os-release")) -> tuple[str, str]:
    """The ID and VERSION_ID of os-release, such as ("debian", "12"); empty where they are not given."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("ID", "").strip("\"'"), values.get("VERSION_ID", "").strip("\"'")


def vulkan_package(system: tuple[str, str]) -> str:
    """The package that brings a software driver which renders, for a distribution and its version."""
    return f"{VULKAN_DRIVERS}/bookworm-backports" if system == ("debian", "12") else VULKAN_DRIVERS


def browser_packages(system: tuple[str, str]) -> list[str]:
    """What brings a browser for the tests, where there is none, with the helper that makes its sandbox where the kernel
    lets no user make one. Ubuntu has it as a snap only, which containers cannot run: there the tests skip, and say what
    to install."""
    return [] if any(map(shutil.which, BROWSERS)) or system[0] == "ubuntu" else ["chromium", "chromium-sandbox"]


def packages_for_tests(system: tuple[str, str]) -> list[str]:
    """What only tests use: a browser, and the program that reads what is written on a picture."""
    return browser_packages(system) + ([] if shutil.which("tesseract") else ["tesseract-ocr"])


def missing() -> list[str]:
    """The packages that this machine lacks."""
    packages: list[str] = []
    if not all(map(importlib.util.find_spec, ("ensurepip", "venv"))):
        # Debian and Ubuntu keep ensurepip in a package of its own.
        packages.append(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
    packages += [package for library, package in LIBRARIES.items() if not loads(library)]
    if not has_vulkan_driver(driver_manifests(os.environ), mesa_version()):
        packages.append(vulkan_package(distribution()))
    return list(dict.fromkeys(packages))


def main(words: list[str]) -> None:
    """With --vulkan it is the package with Vulkan drivers, there or not; with --tests what the tests use, too."""
    found = [vulkan_package(distribution())] if words == ["--vulkan"] else missing()
    for package in [*found, *(packages_for_tests(distribution()) if words == ["--tests"] else [])]:
        print(package)


if __name__ == "__main__":
    main(sys.argv[1:])
