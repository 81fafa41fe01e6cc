"""Entry point of the `ros2` command."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import signal
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from .._finder import real_rclpy_exists

# command -> (module, one line of help). Modules are imported only when asked for: most need rclpy, which takes time.
COMMANDS = {
    "action": ("action", "Various action related sub-commands"),
    "doctor": ("doctor", "Check settings and graph for what keeps nodes from meeting"),
    "interface": ("interface", "Show information about ROS interfaces"),
    "launch": ("launch", "Run a launch file"),
    "lifecycle": ("lifecycle", "Various lifecycle related sub-commands"),
    "node": ("node", "Various node related sub-commands"),
    "param": ("param", "Various param related sub-commands"),
    "pkg": ("pkg", "Various package related sub-commands"),
    "run": ("run", "Run a package specific executable"),
    "service": ("service", "Various service related sub-commands"),
    "topic": ("topic", "Various topic related sub-commands"),
    "wtf": ("doctor", "Use `ros2 doctor` instead: the same"),
}
# Commands of the stock tool, so that their names are recognised.
NOT_COVERED = (
    "bag",
    "component",
    "control",
    "daemon",
    "extension_points",
    "extensions",
    "multicast",
    "security",
    "test",
)


class _Parser(argparse.ArgumentParser):
    """Names the command or verb that was probably meant."""

    def error(self, message: str) -> NoReturn:
        if "invalid choice" in message:
            given, *choices = re.findall(r"'([^']*)'", message)
            close = difflib.get_close_matches(given, choices, n=2)
            message += f"; did you mean {' or '.join(close)}?" if close else ""
        super().error(message)


def _parser(chosen: str | None) -> tuple[argparse.ArgumentParser, ModuleType | None]:
    parser = _Parser(
        prog="ros2",
        description="ros2 is an extensible command-line tool for ROS 2. This one is rclpy_dds', for environments "
        "without a ROS 2 installation.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="Commands", metavar="<command>", dest="command")
    module = None
    for name, (module_name, text) in COMMANDS.items():
        sub_parser = commands.add_parser(name, help=text, description=text)
        if name == chosen:
            module = import_module(f"rclpy_dds.cli.{module_name}")
            module.add_arguments(sub_parser)
    return parser, module


def _status(result: Any) -> int:
    """Return the exit status for what a command returned: None, a number, or an error message."""
    if isinstance(result, str):
        print(result, file=sys.stderr)
        return 1
    return int(result or 0)


def _run_stock_tool(argv: list[str]) -> int | str | None:
    """Run the `ros2` of the ROS 2 that is sourced: a real one wins, its tool too; this one knows its own rclpy only.

    Raises RuntimeError when that ROS 2 has no such tool.
    """
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        program = os.path.join(prefix, "bin", "ros2")
        if os.path.isdir(os.path.join(prefix, "share", "ros2cli")) and os.access(program, os.X_OK):
            # By the Python that its first line names: this one may lack what it imports, or be of another version.
            os.execv(program, [program, *argv])
    try:
        from ros2cli.cli import main as stock_main  # of a ROS 2 from wheels: it is in this environment
    except ImportError as error:
        distribution = os.environ.get("ROS_DISTRO", "<distribution>")
        raise RuntimeError(
            f"a ROS 2 is sourced, but its `ros2` command cannot be had ({error}): install "
            f"ros-{distribution}-ros2cli-common-extensions, or use a shell in which no ROS 2 is sourced"
        ) from None
    return stock_main(argv=argv)


def _replace_closed_streams() -> None:
    """Give a program that was started without standard streams (`>&-`, some service managers) /dev/null for them.

    Otherwise Python has none, and the next file or socket takes the number, and with it what a child prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives


def main(argv: list[str] | None = None) -> int:
    """Run a command line (without the program's name) and return its exit status."""
    _replace_closed_streams()
    argv = sys.argv[1:] if argv is None else argv
    if real_rclpy_exists():
        try:
            return _status(_run_stock_tool(argv))
        except RuntimeError as error:
            return _status(f"ros2: {error}")
    if hasattr(sys.stdout, "reconfigure"):
        # Otherwise what goes into a pipe arrives in blocks, and is lost when the command is ended by a signal.
        sys.stdout.reconfigure(line_buffering=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    if chosen in NOT_COVERED:
        return _status(f"ros2: command '{chosen}' is not covered by rclpy_dds; it needs a ROS 2 installation")
    parser, module = _parser(chosen)
    args = parser.parse_args(argv)
    if module is None:
        parser.print_help()
        return 0
    try:
        return _status(module.main(args))
    except KeyboardInterrupt:
        return int(signal.SIGINT)
    except BrokenPipeError:
        # The reader of a pipe (say, head) has had enough; Python would complain about it while exiting.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except NotImplementedError as error:
        return _status(f"ros2: {error}")
    except (ValueError, RuntimeError, LookupError, OSError) as error:
        return _status(str(error))


if __name__ == "__main__":
    sys.exit(main())
