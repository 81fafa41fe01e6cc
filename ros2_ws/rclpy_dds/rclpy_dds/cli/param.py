"""`ros2 param`."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters

from .. import parameter_yaml
from .graph import DISCOVERY_TIMEOUT_S, NodeName, add_graph_arguments, call_service, find_node, joined_graph, node_names
from .verbs import Verb, add_verbs, run_verb

# type number -> (field of ParameterValue, name in `describe`, label in `get`)
_TYPES = {
    ParameterType.PARAMETER_BOOL: ("bool_value", "boolean", "Boolean value is:"),
    ParameterType.PARAMETER_INTEGER: ("integer_value", "integer", "Integer value is:"),
    ParameterType.PARAMETER_DOUBLE: ("double_value", "double", "Double value is:"),
    ParameterType.PARAMETER_STRING: ("string_value", "string", "String value is:"),
    ParameterType.PARAMETER_BYTE_ARRAY: ("byte_array_value", "byte array", "Byte values are:"),
    ParameterType.PARAMETER_BOOL_ARRAY: ("bool_array_value", "boolean array", "Boolean values are:"),
    ParameterType.PARAMETER_INTEGER_ARRAY: ("integer_array_value", "integer array", "Integer values are:"),
    ParameterType.PARAMETER_DOUBLE_ARRAY: ("double_array_value", "double array", "Double values are:"),
    ParameterType.PARAMETER_STRING_ARRAY: ("string_array_value", "string array", "String values are:"),
}


def value_from_text(text: str) -> ParameterValue:
    """Return the parameter value that a text means by YAML's rules; anything that is no other type is a string."""
    value = ParameterValue()
    try:
        parsed = parameter_yaml.load(text)
    except ValueError:
        parsed = text
    if isinstance(parsed, list) and {type(item) for item in parsed} == {int, float}:
        parsed = [float(item) for item in parsed]
    kinds = {type(item) for item in parsed} if isinstance(parsed, list) else {type(parsed)}
    scalar = {bool: 1, int: 2, float: 3, str: 4}.get(next(iter(kinds))) if len(kinds) == 1 else None
    if scalar is None:
        parsed, scalar = text, ParameterType.PARAMETER_STRING
    # The types of arrays follow those of scalars, after the one of byte arrays.
    value.type = scalar + 5 if isinstance(parsed, list) else scalar
    setattr(value, _TYPES[value.type][0], parsed)
    return value


def value_to_python(value: ParameterValue) -> Any:
    """Return the value as bool, int, float, str, a list of them, or None when it is not set."""
    if value.type == ParameterType.PARAMETER_NOT_SET:
        return None
    if value.type not in _TYPES:
        raise RuntimeError(f"Unknown parameter type '{value.type}'")
    content = getattr(value, _TYPES[value.type][0])
    return content if isinstance(content, (bool, int, float, str)) else list(content)


def _names(node: Any, target: NodeName, prefixes: list[str] | None = None) -> list[str]:
    request = ListParameters.Request(prefixes=prefixes or [])
    return sorted(call_service(node, target, ListParameters, "list_parameters", request).result.names)


def _values(node: Any, target: NodeName, names: list[str]) -> list[ParameterValue]:
    return list(call_service(node, target, GetParameters, "get_parameters", GetParameters.Request(names=names)).values)


def _descriptors(node: Any, target: NodeName, names: list[str]) -> list[Any]:
    request = DescribeParameters.Request(names=names)
    return list(call_service(node, target, DescribeParameters, "describe_parameters", request).descriptors)


def _type_name(number: int) -> str:
    return _TYPES[number][1] if number in _TYPES else "not set"


def _node_arguments(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    add_graph_arguments(parser)
    parser.add_argument("node_name", nargs="?" if optional else None, help="Name of the ROS node")
    parser.add_argument("--include-hidden-nodes", action="store_true", help="Consider hidden nodes as well")
    parser.add_argument(
        "--timeout",
        metavar="N",
        type=float,
        default=DISCOVERY_TIMEOUT_S,
        help=f"Wait for N seconds until node becomes available (default {DISCOVERY_TIMEOUT_S:g} sec)",
    )


def _target(node: Any, args: argparse.Namespace) -> NodeName:
    found = find_node(node, args.node_name, args.spin_time + args.timeout)
    if isinstance(found, str):
        raise RuntimeError(f"Node not found: {found}")
    return found


# list


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser, optional=True)
    parser.add_argument(
        "--filter", help="Only parameters matching the regex expression will be showed. Supports `re` regex syntax."
    )
    parser.add_argument(
        "--param-prefixes", nargs="+", default=[], help="Only list parameters with the provided prefixes"
    )
    parser.add_argument("--param-type", action="store_true", help="Print parameter types with parameter names")


def _list(args: argparse.Namespace) -> None:
    with joined_graph(args, wait=args.node_name is None) as node:
        targets = [_target(node, args)] if args.node_name else node_names(node, args.include_hidden_nodes)
        for target in targets:
            try:
                names = _names(node, target, args.param_prefixes)
            except RuntimeError as error:
                if args.node_name:
                    raise
                print(error, file=sys.stderr)
                continue
            if args.filter is not None:
                names = [name for name in names if re.match(args.filter, name)]
            if not args.node_name and names:
                print(f"{target.full_name}:")
            types = {}
            if args.param_type and names:
                types = {entry.name: _type_name(entry.type) for entry in _descriptors(node, target, names)}
            for name in names:
                print(f"  {name} (type: {types[name]})" if name in types else f"  {name}")


# get


def _get_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("parameter_name", help="Name of the parameter")
    parser.add_argument("--hide-type", action="store_true", help="Hide the type information")


def _get(args: argparse.Namespace) -> str | None:
    with joined_graph(args, wait=False) as node:
        target = _target(node, args)
        values = _values(node, target, [args.parameter_name])
        if not values or values[0].type == ParameterType.PARAMETER_NOT_SET:
            names = _names(node, target)
            if args.parameter_name in names:
                print("None" if args.hide_type else "Parameter not set.")
                return None
            return f"Parameter not set: node {target.full_name} has: {', '.join(names)}"
    value = value_to_python(values[0])
    print(value if args.hide_type else f"{_TYPES[values[0].type][2]} {value}")
    return None


# set


def _set_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("parameter_name", help="Name of the parameter")
    parser.add_argument("value", help="Value of the parameter")


def _set(args: argparse.Namespace) -> str | None:
    parameter = Parameter(name=args.parameter_name, value=value_from_text(args.value))
    return _set_one(args, parameter, "Set parameter successful", "Setting parameter failed")


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("parameter_name", help="Name of the parameter")


def _delete(args: argparse.Namespace) -> str | None:
    parameter = Parameter(name=args.parameter_name)
    return _set_one(args, parameter, "Deleted parameter successfully", "Deleting parameter failed")


def _set_one(args: argparse.Namespace, parameter: Parameter, success: str, failure: str) -> str | None:
    with joined_graph(args, wait=False) as node:
        request = SetParameters.Request(parameters=[parameter])
        result = call_service(node, _target(node, args), SetParameters, "set_parameters", request).results[0]
    reason = f": {result.reason}" if result.reason else ""
    if not result.successful:
        return failure + reason
    print(success + reason)
    return None


# describe


def _describe_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("parameter_names", nargs="+", help="Names of the parameters")


def _describe(args: argparse.Namespace) -> str | None:
    with joined_graph(args, wait=False) as node:
        target = _target(node, args)
        unknown = sorted(set(args.parameter_names) - set(_names(node, target)))
        if unknown:
            return f"node {target.full_name} has no parameter {', '.join(unknown)}"
        descriptors = _descriptors(node, target, args.parameter_names)
    for descriptor in descriptors:
        print("Parameter name:", descriptor.name)
        print("  Type:", _type_name(descriptor.type))
        if descriptor.description:
            print("  Description:", descriptor.description)
        print("  Constraints:")
        if descriptor.read_only:
            print("    Read only: true")
        for limits in [*descriptor.floating_point_range, *descriptor.integer_range][:1]:
            print("    Min value:", limits.from_value)
            print("    Max value:", limits.to_value)
            if limits.step:
                print("    Step:", limits.step)
        if descriptor.additional_constraints:
            print("    Additional constraints:", descriptor.additional_constraints)
    return None


# dump and load


def _dump(args: argparse.Namespace) -> None:
    with joined_graph(args, wait=False) as node:
        target = _target(node, args)
        names = _names(node, target)
        values = _values(node, target, names) if names else []
    tree: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        *parents, leaf = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value_to_python(value)
    print(parameter_yaml.dump({target.full_name: {"ros__parameters": tree}}))


def _load_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("parameter_file", help="Parameter file")
    parser.add_argument(
        "--no-use-wildcard", action="store_true", help="Do not load parameters in the '/**' namespace into the node"
    )


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _load(args: argparse.Namespace) -> int | str:
    try:
        with open(args.parameter_file, encoding="utf-8") as file:
            content = parameter_yaml.load(file)
    except (OSError, ValueError) as error:
        return f"cannot read parameter file '{args.parameter_file}': {error}"
    with joined_graph(args, wait=False) as node:
        target = _target(node, args)
        values: dict[str, Any] = {}
        patterns = ([] if args.no_use_wildcard else ["/**"]) + [target.full_name, target.full_name.lstrip("/")]
        for pattern in patterns:
            section = (content or {}).get(pattern) if isinstance(content, dict) else None
            if isinstance(section, dict) and isinstance(section.get("ros__parameters"), dict):
                values.update(_flatten(section["ros__parameters"]))
        if not values:
            return f"parameter file '{args.parameter_file}' has no ros__parameters for node {target.full_name}"
        parameters = [
            Parameter(name=name, value=value_from_text(parameter_yaml.one_line(value)))
            for name, value in values.items()
        ]
        request = SetParameters.Request(parameters=parameters)
        results = call_service(node, target, SetParameters, "set_parameters", request).results
    failed = 0
    for parameter, result in zip(parameters, results, strict=True):
        reason = f": {result.reason}" if result.reason else ""
        if result.successful:
            print(f"Set parameter {parameter.name} successful{reason}")
        else:
            print(f"Set parameter {parameter.name} failed{reason}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


VERBS = [
    Verb("delete", "Delete parameter", _delete, _delete_arguments),
    Verb("describe", "Show descriptive information about declared parameters", _describe, _describe_arguments),
    Verb("dump", "Show all of the parameters of a node in a YAML file format", _dump, _node_arguments),
    Verb("get", "Get parameter", _get, _get_arguments),
    Verb("list", "Output a list of available parameters", _list, _list_arguments),
    Verb("load", "Load parameter file for a node", _load, _load_arguments),
    Verb("set", "Set parameter", _set, _set_arguments),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 param`."""
    add_verbs(parser, VERBS)


def main(args: argparse.Namespace) -> object:
    """Run a verb of `ros2 param`."""
    return run_verb(args)
