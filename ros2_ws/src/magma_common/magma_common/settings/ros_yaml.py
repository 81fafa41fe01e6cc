"""YAML with the scalars of ROS parameter files, for every file that people write for the nodes.

PyYAML alone follows YAML 1.1 and reads ``1e3`` as text and ``12:30`` as the number 750; whoever writes a robot's file
beside a parameter file expects one set of rules: those of rcl_yaml_param_parser (``get_value`` in its parse.c).
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_TRUE = frozenset({"Y", "y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"N", "n", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|\.?(?:inf|nan)|infinity)", re.IGNORECASE)


def plain_scalar(text: str) -> bool | int | float | str:
    """What a scalar without quotes stands for; anything that is no other type is a text."""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+-")
        base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
        number = int(digits, base) * (-1 if text[0] == "-" else 1)
        return number if -(2**63) <= number < 2**63 else float(number)
    if _FLOAT.fullmatch(text):
        value = float(re.sub(r"\.(?=[a-z])", "", text.lower()))
        # A number that no double holds is text.
        return text if math.isinf(value) and "inf" not in text.lower() else value
    return text


class RosLoader(yaml.SafeLoader):
    """Builds plain values only. Names are texts, whatever they look like; an empty value is None."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}plain":
            return plain_scalar(node.value)
        return super().construct_object(node, deep=deep)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = f"{_TAG}str"
        return super().construct_mapping(node, deep=deep)


# The merge key `<<` and empty values stay as YAML has them.
RosLoader.yaml_implicit_resolvers = {
    "": [(f"{_TAG}null", re.compile("^$"))],
    "<": [(f"{_TAG}merge", re.compile("^<<$"))],
    None: [(f"{_TAG}plain", re.compile(""))],
}
