"""`ros2 interface`."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import Any

from ..interfaces import store
from ..interfaces.definition import EMPTY_MEMBER, DefinitionError, MessageDefinition
from .messages import get_interface, message_to_dict, to_yaml
from .verbs import Verb, add_verbs, run_verb

_TITLES = {"msg": "Messages:", "srv": "Services:", "action": "Actions:"}


def _kinds(args: argparse.Namespace) -> list[str]:
    chosen = [
        kind for kind, only in (("msg", args.only_msgs), ("srv", args.only_srvs), ("action", args.only_actions)) if only
    ]
    return chosen or list(_TITLES)


def _kind_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--only-msgs", action="store_true", help="Print out only the message types")
    parser.add_argument("-s", "--only-srvs", action="store_true", help="Print out only the service types")
    parser.add_argument("-a", "--only-actions", action="store_true", help="Print out only the action types")


def _list(args: argparse.Namespace) -> None:
    for kind in _kinds(args):
        print(_TITLES[kind])
        for package in store.packages():
            for name in store.names(package, kind):
                print(f"    {package}/{kind}/{name}")


def _package_arguments(parser: argparse.ArgumentParser) -> None:
    _kind_arguments(parser)
    parser.add_argument("package_name", help="Name of the ROS package (e.g. 'example_interfaces')")


def _package(args: argparse.Namespace) -> str | None:
    if args.package_name not in store.packages():
        return f"Unknown package '{args.package_name}', or it has no interfaces"
    for kind in _kinds(args):
        for name in store.names(args.package_name, kind):
            print(f"{args.package_name}/{kind}/{name}")
    return None


def _packages(args: argparse.Namespace) -> None:
    kinds = _kinds(args)
    for package in store.packages():
        if any(store.names(package, kind) for kind in kinds):
            print(package)


# show


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    comments = parser.add_mutually_exclusive_group()
    comments.add_argument(
        "--all-comments", action="store_true", help="Show all comments, including for nested interface definitions"
    )
    comments.add_argument("--no-comments", action="store_true", help="Show no comments or whitespace")
    parser.add_argument(
        "type",
        help="Show an interface definition (e.g. 'example_interfaces/msg/String'). Passing '-' reads the argument from "
        "stdin (e.g. 'ros2 topic type /chatter | ros2 interface show -').",
    )


def _full_name(name: str) -> str:
    """Return `pkg/kind/Name`, reading it from stdin for "-" and guessing the kind of `pkg/Name`."""
    if name == "-":
        name = sys.stdin.readline().strip()
    parts = name.split("/")
    if len(parts) == 2:
        for kind in _TITLES:
            if parts[1] in store.names(parts[0], kind):
                return f"{parts[0]}/{kind}/{parts[1]}"
    if len(parts) != 3 or parts[1] not in _TITLES:
        raise ValueError(f"Invalid name '{name}'. Expected three parts separated by '/', such as std_msgs/msg/String")
    return name


def _definition_text(definition: MessageDefinition) -> list[str]:
    """Return the lines of a .msg file for a definition whose own text is not at hand."""
    lines = [f"{constant.type} {constant.name}={_value_text(constant.value)}" for constant in definition.constants]
    for field in definition.fields:
        if field.name == EMPTY_MEMBER:
            continue
        kind = field.type
        base = kind.base
        if kind.is_nested:
            package, _, short = base.split("/")
            base = f"{package}/{short}"
        if kind.string_bound:
            base += f"<={kind.string_bound}"
        if kind.kind == "array":
            base += f"[{kind.size}]"
        elif kind.kind == "sequence":
            base += f"[<={kind.size}]" if kind.size else "[]"
        lines.append(f"{base} {field.name}" + ("" if field.default is None else f" {_value_text(field.default)}"))
    return lines


def _value_text(value: Any) -> str:
    if isinstance(value, bytes):
        return str(value[0])
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _source_lines(name: str) -> list[str]:
    package, kind, short = name.split("/")
    for folder in store.share_folders(package):
        path = folder / kind / f"{short}.{kind}"
        if path.is_file():
            return [line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
    if kind != "msg":
        raise DefinitionError(f"Could not find the interface '{name}'")
    return _definition_text(store.definition(name))


def _nested_types(name: str) -> dict[str, str]:
    """Return {field name: type} of the fields of an interface that are messages themselves."""
    package, kind, short = name.split("/")
    halves = {"msg": [""], "srv": ["_Request", "_Response"], "action": ["_Goal", "_Result", "_Feedback"]}[kind]
    return {
        field.name: field.type.base
        for half in halves
        for field in store.definition(f"{package}/{kind}/{short}{half}").fields
        if field.type.is_nested
    }


def _show_lines(name: str, comments: bool, nested_comments: bool, indent: int = 0) -> list[str]:
    nested = _nested_types(name)
    lines = []
    for line in _source_lines(name):
        code, mark, _ = line.partition("#")
        shown = line if comments else code.rstrip() if mark else line
        if shown or comments:
            lines.append("\t" * indent + shown if shown else "")
        words = code.split()
        if len(words) >= 2 and "=" not in words[1] and words[1] in nested and "/" in nested[words[1]]:
            lines += _show_lines(nested[words[1]], nested_comments, nested_comments, indent + 1)
    return lines


def _show(args: argparse.Namespace) -> str | None:
    try:
        print("\n".join(_show_lines(_full_name(args.type), not args.no_comments, args.all_comments)))
    except DefinitionError as error:
        package, kind, short = _full_name(args.type).split("/")
        close = difflib.get_close_matches(short, store.names(package, kind), n=3, cutoff=0.7)
        return f"{error}" + (
            f" Did you mean {' or '.join(f'{package}/{kind}/{name}' for name in close)}?" if close else ""
        )
    return None


# proto


def _proto_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("type", help="Show an interface definition (e.g. 'example_interfaces/msg/String')")
    parser.add_argument("--no-quotes", action="store_true", help="if true output has no outer quotes.")


def _proto(args: argparse.Namespace) -> None:
    name = _full_name(args.type)
    kind = name.split("/")[1]
    interface = get_interface(name, kind)
    message = interface() if kind == "msg" else interface.Request() if kind == "srv" else interface.Goal()
    text = to_yaml(message_to_dict(message))
    print(text if args.no_quotes else f'"{text}"')


VERBS = [
    Verb("list", "List all interface types available", _list, _kind_arguments),
    Verb("package", "Output a list of available interface types within one package", _package, _package_arguments),
    Verb("packages", "Output a list of packages that provide interfaces", _packages, _kind_arguments),
    Verb("proto", "Output an interface prototype", _proto, _proto_arguments),
    Verb("show", "Output the interface definition", _show, _show_arguments),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 interface`."""
    add_verbs(parser, VERBS)


def main(args: argparse.Namespace) -> object:
    """Run a verb of `ros2 interface`."""
    return run_verb(args)
