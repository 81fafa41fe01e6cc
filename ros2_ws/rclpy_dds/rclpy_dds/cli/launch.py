"""`ros2 launch`."""

from __future__ import annotations

import argparse
import os
import sys

from .._dds import config
from ..ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from ..launch.actions import IncludeLaunchDescription
from ..launch.launch_description import LaunchDescription
from ..launch.launch_description_sources import (
    AnyLaunchDescriptionSource,
    get_launch_description_from_any_launch_file,
)
from ..launch.launch_introspector import LaunchIntrospector
from ..launch.launch_service import LaunchService
from ..launch.logging import write_screen
from ..launch.utilities import describe_substitutions

LAUNCH_FILE_ENDINGS = ("launch.py", ".launch.xml", ".launch.yaml", ".launch.yml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ros2 launch`."""
    parser.add_argument(
        "-n",
        "--noninteractive",
        action="store_true",
        default=not sys.stdin.isatty(),
        help="Run the launch system non-interactively, with no terminal associated",
    )
    parser.add_argument(
        "-d", "--debug", action="store_true", help="Put the launch system in debug mode, provides more verbose output."
    )
    show = parser.add_mutually_exclusive_group()
    show.add_argument(
        "-p",
        "--print",
        "--print-description",
        dest="print",
        action="store_true",
        help="Print the launch description to the console without launching it.",
    )
    show.add_argument(
        "-s",
        "--show-args",
        "--show-arguments",
        dest="show_args",
        action="store_true",
        help="Show arguments that may be given to the launch file.",
    )
    parser.add_argument(
        "-a",
        "--show-all-subprocesses-output",
        action="store_true",
        help="Show all launched subprocesses' output by overriding their output configuration using the "
        "OVERRIDE_LAUNCH_PROCESS_OUTPUT envvar.",
    )
    parser.add_argument(
        "--launch-prefix",
        help="Prefix command, which should go before all executables. Command must be wrapped in quotes if it contains "
        "spaces (e.g. --launch-prefix 'xterm -e gdb -ex run --args').",
    )
    parser.add_argument(
        "--launch-prefix-filter",
        help="Regex pattern for filtering which executables the --launch-prefix is applied to by matching the "
        "executable name.",
    )
    parser.add_argument(
        "package_name", help="Name of the ROS package which contains the launch file, or path of a launch file"
    )
    parser.add_argument("launch_file_name", nargs="?", help="Name of the launch file")
    parser.add_argument(
        "launch_arguments",
        nargs="*",
        help="Arguments to the launch file; '<name>:=<value>' (for duplicates, last one wins)",
    )


def find_launch_file(package: str, file_name: str | None) -> str:
    """Return the path of a launch file anywhere in a package's share folder.

    Raises LookupError naming what there is, also when the name is found more than once.
    """
    try:
        share = get_package_share_directory(package)
    except (PackageNotFoundError, ValueError) as error:
        raise LookupError(f"Package '{package}' not found: {error}") from error
    available: dict[str, list[str]] = {}
    for folder, _, names in os.walk(share, followlinks=True):
        for name in names:
            available.setdefault(name, []).append(os.path.join(folder, name))
    launch_files = sorted(name for name in available if name.endswith(LAUNCH_FILE_ENDINGS))
    if file_name is None:
        raise LookupError(
            f"name a launch file of package '{package}'; it has: {', '.join(launch_files) or 'no launch files'}"
        )
    found = available.get(file_name, [])
    if not found:
        raise LookupError(
            f"file '{file_name}' was not found in the share directory of package '{package}' which is at '{share}'; "
            f"launch files there: {', '.join(launch_files) or 'none'}"
        )
    if len({os.path.realpath(path) for path in found}) > 1:
        raise LookupError(
            f"file '{file_name}' was found more than once in the share directory of package '{package}': {found}"
        )
    return found[0]


def parse_launch_arguments(arguments: list[str]) -> dict[str, str]:
    """Return {name: value} of `name:=value` words; the last of several counts. Raises ValueError."""
    parsed: dict[str, str] = {}
    for argument in arguments:
        name, separator, value = argument.partition(":=")
        if not separator or not name:
            raise ValueError(f"malformed launch argument '{argument}', expected format '<name>:=<value>'")
        parsed[name] = value
    return parsed


def format_arguments(description: LaunchDescription) -> str:
    """Return the text of `ros2 launch --show-args`."""
    lines = ["Arguments (pass arguments as '<name>:=<value>'):"]
    conditional = False
    arguments = description.get_launch_arguments()
    for argument in arguments:
        mark = "*" if argument._conditionally_included else ""
        conditional = conditional or bool(mark)
        lines += ["", f"    '{argument.name}':{mark}", f"        {argument.description}"]
        if argument.default_value is not None:
            lines.append(f"        (default: {describe_substitutions(argument.default_value)})")
    if not arguments:
        lines += ["", "  No arguments."]
    if conditional:
        lines += ["", "* argument(s) which are only used if specific conditions occur"]
    return "\n".join(lines)


def main(args: argparse.Namespace) -> int | str:
    """Run `ros2 launch`."""
    words = list(args.launch_arguments)
    if os.path.isfile(args.package_name):
        path = args.package_name
        if args.launch_file_name is not None:
            words.insert(0, args.launch_file_name)
    elif os.sep in args.package_name:
        return f"launch file '{args.package_name}' does not exist"
    else:
        path = find_launch_file(args.package_name, args.launch_file_name)
    if args.launch_prefix is None and args.launch_prefix_filter is not None:
        return "--launch-prefix must be specified if --launch-prefix-filter is provided"
    if args.print or args.show_args:
        description = get_launch_description_from_any_launch_file(path)
        print(
            LaunchIntrospector().format_launch_description(description) if args.print else format_arguments(description)
        )
        return 0
    hint = config.reach_hint()
    if hint is not None:
        write_screen(hint)  # which no output stops
    arguments = parse_launch_arguments(words)
    if args.launch_prefix is not None:
        arguments["launch-prefix"] = args.launch_prefix
    if args.launch_prefix_filter is not None:
        arguments["launch-prefix-filter"] = args.launch_prefix_filter
    if args.show_all_subprocesses_output:
        os.environ["OVERRIDE_LAUNCH_PROCESS_OUTPUT"] = "both"
    service = LaunchService(argv=words, noninteractive=args.noninteractive, debug=args.debug)
    service.include_launch_description(
        LaunchDescription(
            [IncludeLaunchDescription(AnyLaunchDescriptionSource(path), launch_arguments=list(arguments.items()))]
        )
    )
    service.require_known_arguments(arguments)
    return service.run()
