"""YAML as ROS reads parameters (rcl_yaml_param_parser), in every place that reads or writes them.

PyYAML follows YAML 1.1: to it ``1e-6`` is text, ``12:30`` the number 750 and ``2020-01-01`` a date; to rcl a number,
text and text, and ``y`` is true. Whoever writes by one set of rules what others read by the other changes values
silently, so there is one loader, and one dumper that quotes every text which either of the two would misread. Messages
on the command line (``ros2 topic pub``) stay with PyYAML, as in ROS: there the type of the field decides.
"""

from __future__ import annotations

import functools
import math
import re
from typing import IO, Any

# PyYAML itself is imported where it is used: most processes have no parameters to parse.

_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$")
_FLOAT = re.compile(
    r"(?:[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|[-+]?(?:inf|infinity|nan))$",
    re.IGNORECASE,
)
_BOOL = re.compile(r"(?:[Yy]|yes|Yes|YES|true|True|TRUE|on|On|ON|[Nn]|no|No|NO|false|False|FALSE|off|Off|OFF)$")
_TRUE = frozenset({"Y", "y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_PREFIX = "tag:yaml.org,2002:"
_INT64 = range(-(2**63), 2**63)


def _int(text: str) -> int:
    """A text that `_INTEGER` matches, by the rules of C's strtoll with base 0."""
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
    return sign * int(digits, base)


def _scalar(text: str) -> Any:
    """What a plain scalar stands for."""
    if _BOOL.match(text):
        return text in _TRUE
    if _INTEGER.match(text):
        number = _int(text)
        return number if number in _INT64 else float(number)
    if _FLOAT.match(text):
        value = float(re.sub(r"\.(?=[a-z])", "", text.lower()))
        # A number that no double holds is text to rcl.
        return text if math.isinf(value) and "inf" not in text.lower() else value
    return text


@functools.lru_cache(maxsize=1)
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Builds plain values only; names are texts, whatever they look like."""

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            if isinstance(node, yaml.ScalarNode) and (node.value or node.style):
                # As for rcl: what is quoted or tagged as text is text, and no other tag changes what a word means.
                return node.value if node.style or node.tag == f"{_PREFIX}str" else _scalar(node.value)
            return super().construct_object(node, deep=deep)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            if isinstance(node, yaml.MappingNode):
                self.flatten_mapping(node)
                for key, _ in node.value:
                    if isinstance(key, yaml.ScalarNode):
                        key.tag = f"{_PREFIX}str"
            return super().construct_mapping(node, deep=deep)

    # An empty value and the merge key `<<` stay as YAML has them; all other plain scalars are judged by `_scalar`.
    Loader.yaml_implicit_resolvers = {
        "": [(f"{_PREFIX}null", re.compile("^$"))],
        "<": [(f"{_PREFIX}merge", re.compile("^<<$"))],
        None: [(f"{_PREFIX}plain", re.compile(""))],
    }
    return Loader


@functools.lru_cache(maxsize=1)
def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes what PyYAML or rcl would not read as text; without anchors, which rcl does not know."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    for kind, pattern in (("bool", _BOOL), ("int", _INTEGER), ("float", _FLOAT)):
        Dumper.add_implicit_resolver(f"{_PREFIX}{kind}", pattern, None)
    return Dumper


def load(text: str | IO[str]) -> Any:
    """Parse YAML as ROS parameters are parsed.

    Raises:
        ValueError: the text is not YAML.
    """
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not valid YAML: {error}") from None


def dump(value: Any) -> str:
    """Return YAML, names in alphabetical order as ROS writes them, that means the same to PyYAML and to rcl."""
    import yaml

    return yaml.dump(value, Dumper=_dumper(), allow_unicode=True, width=float("inf"), default_flow_style=False)


def one_line(value: Any) -> str:
    """Return a parameter's value as one line of YAML."""
    import yaml

    text = yaml.dump(value, Dumper=_dumper(), allow_unicode=True, width=float("inf"), default_flow_style=True)
    # Of white space only YAML's: a no-break space is a text of its own, and plain.
    return text.strip(" \n").removesuffix("...").strip(" \n")
