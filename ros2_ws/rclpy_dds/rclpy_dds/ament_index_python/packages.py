"""Where packages are installed."""

from __future__ import annotations

import difflib
import os
import pathlib
import re

from .resources import get_resource, get_resources
from .search_paths import get_search_paths

_PACKAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class PackageNotFoundError(KeyError):
    """No prefix has the package."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which makes a message unreadable.
        return str(self.args[0]) if self.args else ""


def get_packages_with_prefixes() -> dict[str, str]:
    """Return {package: prefix} of all packages that are found."""
    return get_resources("packages")


def get_package_prefix(package_name: str) -> str:
    """Return the prefix a package is installed in. Raises PackageNotFoundError, ValueError for a bad name."""
    if not _PACKAGE_NAME.fullmatch(package_name):
        raise ValueError(f"'{package_name}' is not a valid package name")
    try:
        return get_resource("packages", package_name)[1]
    except LookupError:
        pass
    close = difflib.get_close_matches(package_name, get_packages_with_prefixes(), n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise PackageNotFoundError(f"package '{package_name}' not found, searching: {get_search_paths()}{hint}")


def get_package_share_directory(package_name: str) -> str:
    """Return <prefix>/share/<package> (whether or not it exists). Raises as get_package_prefix."""
    return os.path.join(get_package_prefix(package_name), "share", package_name)


def get_package_share_path(package_name: str) -> pathlib.Path:
    """Return get_package_share_directory() as a path."""
    return pathlib.Path(get_package_share_directory(package_name))
