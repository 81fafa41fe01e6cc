"""Commands that consist of verbs, such as `ros2 topic list`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verb:
    """One verb: its name, a line of help, a function that adds its arguments, and one that runs it.

    `run` returns None, an exit status, or an error message.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace], Any]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None


def add_verbs(parser: argparse.ArgumentParser, verbs: list[Verb]) -> None:
    """Add verbs to the parser of a command."""
    sub_parsers = parser.add_subparsers(title="Commands", metavar="<verb>", dest="verb")
    for verb in verbs:
        sub_parser = sub_parsers.add_parser(verb.name, help=verb.help, description=verb.help)
        verb.add_arguments(sub_parser)
        sub_parser.set_defaults(run_verb=verb.run)
    parser.set_defaults(print_verbs=parser.print_help)


def run_verb(args: argparse.Namespace) -> Any:
    """Run the verb that was given, or print the command's help when there was none."""
    if not hasattr(args, "run_verb"):
        args.print_verbs()
        return None
    return args.run_verb(args)
