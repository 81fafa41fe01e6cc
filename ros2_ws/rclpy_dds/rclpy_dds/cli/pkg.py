"""`ros2 pkg`."""

from __future__ import annotations

import argparse

from ..ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
    get_packages_with_prefixes,
)
from ..workspace.executables import find_executables
from .verbs import Verb, add_verbs, run_verb


def _list(args: argparse.Namespace) -> None:
    for name in sorted(get_packages_with_prefixes()):
        print(name)


def _prefix(args: argparse.Namespace) -> str | None:
    try:
        find = get_package_share_directory if args.share else get_package_prefix
        print(find(args.package_name))
    except PackageNotFoundError:
        return "Package not found"
    return None


def _prefix_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package_name", help="The package name")
    parser.add_argument("--share", action="store_true", help="Show share directory for the package")


def _executables(args: argparse.Namespace) -> str | None:
    packages = [args.package_name] if args.package_name else sorted(get_packages_with_prefixes())
    for package in packages:
        try:
            executables = find_executables(package)
        except PackageNotFoundError:
            return f"Package '{package}' not found"
        for name in sorted(executables):
            print(executables[name].path if args.full_path else f"{package} {name}")
    return None


def _executables_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package_name", nargs="?", help="The package name")
    parser.add_argument("--full-path", action="store_true", help="Show full path of each executable")


VERBS = [
    Verb("executables", "Output a list of package specific executables", _executables, _executables_arguments),
    Verb("list", "Output a list of available packages", _list),
    Verb("prefix", "Output the prefix path of a package", _prefix, _prefix_arguments),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 pkg`."""
    add_verbs(parser, VERBS)


def main(args: argparse.Namespace) -> object:
    """Run a verb of `ros2 pkg`."""
    return run_verb(args)
