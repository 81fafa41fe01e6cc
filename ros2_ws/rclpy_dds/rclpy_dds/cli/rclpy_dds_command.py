"""The `rclpy-dds` command: what stands in for colcon in an environment without ROS 2."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from ..ament_index_python.search_paths import get_search_paths
from ..workspace.install import install_workspace
from ..workspace.package_xml import WorkspaceError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rclpy-dds", description="Installs the packages of a ROS 2 workspace into a plain Python environment."
    )
    commands = parser.add_subparsers(title="Commands", metavar="<command>", dest="command", required=True)
    text = (
        "Install the packages of one or more workspaces' src folders: ament_python packages with pip as editable, "
        "their data files and the definitions of interface packages as links. A second run does only what has changed."
    )
    install = commands.add_parser("install", help="Install the packages of a workspace", description=text)
    install.add_argument("folders", nargs="+", type=Path, metavar="src_dir", help="Folder with packages, at any depth")
    install.add_argument(
        "--prefix",
        type=Path,
        help=f"Where share/ goes (default: this environment, {sys.prefix}); another one must be in AMENT_PREFIX_PATH",
    )
    install.add_argument("--copy", action="store_true", help="Copy data files instead of linking them")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command line (without the program's name) and return its exit status."""
    args = _parser().parse_args(argv)
    begin = time.monotonic()
    try:
        results = install_workspace(args.folders, args.prefix, args.copy)
    except WorkspaceError as error:
        print(f"rclpy-dds: {error}", file=sys.stderr)
        return 1
    for result in results:
        state = "installed" if result.changed else "up to date"
        print(f"  {result.package.name:<28} {result.kind:<11} {state}")
    print(f"{len(results)} packages in {time.monotonic() - begin:.1f} s")
    if args.prefix is not None and os.path.realpath(args.prefix) not in map(os.path.realpath, get_search_paths()):
        rest = "${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}"
        print(f"To have them found: export AMENT_PREFIX_PATH={args.prefix.resolve()}{rest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
