"""`ros2 run`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from ..workspace.executables import find_executable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ros2 run`."""
    parser.add_argument(
        "--prefix",
        help="Prefix command, which should go before the executable. Command must be wrapped in quotes if it contains "
        "spaces (e.g. --prefix 'gdb -ex run --args').",
    )
    parser.add_argument("package_name", help="Name of the ROS package")
    parser.add_argument("executable_name", help="Name of the executable")
    parser.add_argument("argv", nargs=argparse.REMAINDER, help="Pass arbitrary arguments to the executable")


def main(args: argparse.Namespace) -> int:
    """Replace this process by the executable, so that signals and the exit status are its own."""
    command = [
        *shlex.split(args.prefix or ""),
        *find_executable(args.package_name, args.executable_name).command,
        *args.argv,
    ]
    sys.stdout.flush()
    os.execvp(command[0], command)
