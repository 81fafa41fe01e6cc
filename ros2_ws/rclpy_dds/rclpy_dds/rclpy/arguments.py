"""Command line arguments between ``--ros-args`` and ``--``: remappings, parameters, log levels.

Syntax: https://docs.ros.org/en/jazzy/How-To-Guides/Node-arguments.html
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy_dds import parameter_yaml

from .exceptions import UnknownROSArgsError
from .impl.logging_severity import LoggingSeverity


@dataclass(frozen=True)
class RemapRule:
    """One remapping. ``kind`` is ``name``, ``namespace``, ``topic``, ``service`` or ``any`` (topic or service)."""

    kind: str
    match: str
    replacement: str
    node: str = ""


@dataclass(frozen=True)
class ParameterOverride:
    """A parameter value for the nodes whose fully qualified name matches ``node`` (``/**`` and ``*`` are wildcards)."""

    node: str
    name: str
    value: Any


@dataclass
class ParsedArguments:
    """What ``--ros-args`` said, in order."""

    remaps: list[RemapRule] = field(default_factory=list)
    parameters: list[ParameterOverride] = field(default_factory=list)
    default_log_level: LoggingSeverity | None = None
    log_levels: dict[str, LoggingSeverity] = field(default_factory=dict)
    enclave: str = "/"
    rosout: bool = True
    stdout: bool = True


def split_ros_args(args: list[str]) -> tuple[list[str], list[str]]:
    """Return what lies within ``--ros-args ... [--]`` and what lies outside."""
    inside: list[str] = []
    outside: list[str] = []
    within = False
    for argument in args:
        if argument == "--ros-args":
            within = True
        elif within and argument == "--":
            within = False
        else:
            (inside if within else outside).append(argument)
    return inside, outside


def remove_ros_args(args: list[str] | None = None) -> list[str]:
    """Return the arguments outside ``--ros-args ... [--]``."""
    return split_ros_args(sys.argv if args is None else list(args))[1]


def parse_arguments(args: list[str] | None) -> ParsedArguments:
    """Parse a whole command line.

    Raises:
        UnknownROSArgsError: something within ``--ros-args`` is not understood; the message quotes it.
    """
    parsed = ParsedArguments()
    arguments = split_ros_args(list(args or []))[0]
    position = 0
    while position < len(arguments):
        flag = arguments[position]
        position += 1
        if flag in _SWITCHES:
            name, value = _SWITCHES[flag]
            if name:
                setattr(parsed, name, value)
            continue
        handler = _FLAGS.get(flag)
        if handler is None:
            raise UnknownROSArgsError(
                f"Found unknown ROS arguments: {flag!r}. After --ros-args come -r, -p, --params-file, --log-level and "
                "the like; end them with -- before arguments of your own"
            )
        if position >= len(arguments):
            raise UnknownROSArgsError(f"The ROS argument {flag} needs a value")
        handler(parsed, arguments[position])
        position += 1
    return parsed


_RULE = re.compile(r"^(?:(?P<node>[A-Za-z_][A-Za-z0-9_]*):(?!//))?(?P<match>[^:]+(?:://[^:]+)?):=(?P<replacement>.+)$")


def _remap(parsed: ParsedArguments, text: str) -> None:
    found = _RULE.match(text)
    if found is None:
        raise UnknownROSArgsError(f"{text!r} is not a remapping such as 'from:=to' or 'node:from:=to'")
    node, match, replacement = found["node"] or "", found["match"], found["replacement"]
    if match in ("__node", "__name"):
        kind = "name"
        if not re.match(r"^[A-Za-z_][A-Za-z0-9_]*$", replacement):
            raise UnknownROSArgsError(f"{text!r}: {replacement!r} is not a node name")
    elif match == "__ns":
        kind = "namespace"
        if not replacement.startswith("/"):
            raise UnknownROSArgsError(f"{text!r}: a namespace begins with '/'")
    else:
        kind = "any"
        for prefix in ("rostopic", "rosservice"):
            if match.startswith(f"{prefix}://"):
                kind, match = prefix[3:], match[len(prefix) + 3 :]
                # "rostopic:///chatter" names an absolute topic, "rostopic://chatter" a relative one.
    parsed.remaps.append(RemapRule(kind, match, replacement, node))


def _parameter(parsed: ParsedArguments, text: str) -> None:
    name, separator, value = text.partition(":=")
    if not separator or not name:
        raise UnknownROSArgsError(f"{text!r} is not a parameter assignment such as 'name:=value'")
    node, colon, rest = name.rpartition(":")
    try:
        parsed_value = parameter_yaml.load(value)
    except ValueError as error:
        raise UnknownROSArgsError(f"The value of the parameter assignment {text!r} is {error}") from None
    pattern = "/**" if not colon else node if node.startswith("/") else f"/**/{node}"
    _add_parameters(parsed, pattern, {rest: parsed_value}, f"-p {text}")


def _parameters_file(parsed: ParsedArguments, text: str) -> None:
    path = Path(text)
    try:
        content = parameter_yaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnknownROSArgsError(f"Cannot read the parameter file {text!r}: {error.strerror}") from None
    except ValueError as error:
        raise UnknownROSArgsError(f"The parameter file {text!r} is {error}") from None
    if content is None:
        return
    if not isinstance(content, dict):
        raise UnknownROSArgsError(f"The parameter file {text!r} must map node names to 'ros__parameters'")
    _add_nodes(parsed, "", content, text)


def _add_nodes(parsed: ParsedArguments, prefix: str, content: dict, source: str) -> None:
    for key, value in content.items():
        name = f"{prefix}/{str(key).strip('/')}"
        if not isinstance(value, dict):
            raise UnknownROSArgsError(
                f"{source}: {name!r} holds {value!r}; parameters must lie under '<node name>: ros__parameters:'"
            )
        rest = {inner: entry for inner, entry in value.items() if inner != "ros__parameters"}
        if "ros__parameters" in value:
            parameters = value["ros__parameters"]
            if parameters is not None and not isinstance(parameters, dict):
                raise UnknownROSArgsError(f"{source}: 'ros__parameters' of {name!r} must map names to values")
            _add_parameters(parsed, name, parameters or {}, source)
        _add_nodes(parsed, name, rest, source)


def _add_parameters(parsed: ParsedArguments, node: str, values: dict, source: str, prefix: str = "") -> None:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            _add_parameters(parsed, node, value, source, f"{name}.")
        else:
            parsed.parameters.append(ParameterOverride(node, name, _checked_value(value, name, source)))


def _checked_value(value: Any, name: str, source: str) -> Any:
    if isinstance(value, list):
        kinds = {type(item) for item in value}
        if len(kinds) > 1 or not kinds <= {bool, int, float, str, bytes}:
            raise UnknownROSArgsError(
                f"{source}: the elements of parameter {name!r} must all be of one type (bool, int, float or str), "
                f"not {value!r}; words such as y, no and on mean true or false unless they are quoted"
            )
        return value
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise UnknownROSArgsError(f"{source}: parameter {name!r} has an unsupported value {value!r}")


def _log_level(parsed: ParsedArguments, text: str) -> None:
    name, separator, level = text.rpartition(":=")
    try:
        severity = LoggingSeverity[level.upper()]
    except KeyError:
        raise UnknownROSArgsError(f"{level!r} is not a log level: debug, info, warn, error or fatal") from None
    if separator:
        parsed.log_levels[name] = severity
    else:
        parsed.default_log_level = severity


def _enclave(parsed: ParsedArguments, text: str) -> None:
    raise NotImplementedError(f"rclpy_dds has no security enclaves (--enclave {text})")


def _log_configuration(parsed: ParsedArguments, text: str) -> None:
    raise NotImplementedError(f"rclpy_dds does not write log files, so it takes no configuration for them ({text})")


_FLAGS = {
    "-r": _remap,
    "--remap": _remap,
    "-p": _parameter,
    "--param": _parameter,
    "--params-file": _parameters_file,
    "--log-level": _log_level,
    "-e": _enclave,
    "--enclave": _enclave,
    "--log-config-file": _log_configuration,
    "--log-file-name": _log_configuration,
}
_SWITCHES: dict[str, tuple[str, bool]] = {
    "--enable-rosout-logs": ("rosout", True),
    "--disable-rosout-logs": ("rosout", False),
    "--enable-stdout-logs": ("stdout", True),
    "--disable-stdout-logs": ("stdout", False),
    # There are no log files here, so that switching them changes nothing.
    "--enable-external-lib-logs": ("", True),
    "--disable-external-lib-logs": ("", False),
}


def node_matches(pattern: str, fully_qualified_name: str) -> bool:
    """Return whether a node name pattern of a parameter file matches ``/namespace/name``."""
    pieces = []
    for piece in pattern.strip("/").split("/"):
        pieces.append(r"(?:/[^/]+)*" if piece == "**" else "/" + re.escape(piece).replace(r"\*", "[^/]+"))
    return re.match("^" + "".join(pieces) + "$", fully_qualified_name) is not None
