"""Check of a parameter file before anything starts.

ROS 2 hands each node the part of the file that bears its name and says nothing about the rest: limits under a misspelt
name would be dropped in silence.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from magma_common.yaml_files import read_yaml
from magma_contracts.errors import ConfigError

NODES = (
    "camera_subscriber",
    "camera_source",
    "policy",
    "scripted_policy",
    "controller",
    "simulator",
    "instruction_keeper",
    "episode_runner",
    "task_server",
    "keyboard_teleop",
    "joy_teleop",
    "leader_teleop",
    "scripted_operator",
    "recorder",
    "live_view",
)
"""Every node of this project, whether one launch starts it or not: a lab keeps one file for all its launches."""
PARAMETERS = "ros__parameters"


def check_parameter_file(path: Path, namespace: str = "/") -> None:
    """Refuses a file of which some node would silently miss a part.

    Args:
        path: the YAML file.
        namespace: of the nodes.

    Raises:
        ConfigError: not readable, not YAML, a key twice, parameters without `ros__parameters` above them, or a name
            that no node of this project has; one sentence with the file and the name.
    """
    what = f"parameter file {path}"
    try:
        content = read_yaml(path)
    except ConfigError as error:
        raise ConfigError(f"{what} {error}") from None
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"{what} holds no parameters; it takes NODE:, below it {PARAMETERS}:, below that the values")
    for name in _node_names(content, "", what):
        if not any(_matches(name, f"{namespace.rstrip('/')}/{node}") for node in NODES):
            last = name.rpartition("/")[2]
            near = difflib.get_close_matches(last, NODES, n=1)
            advice = f"did you mean {near[0]}?" if near else f"the nodes are {', '.join(NODES)}"
            if last in NODES:
                advice = f"the nodes of this launch are in the namespace {namespace}"
            raise ConfigError(f"{what}: no node is called {name.removeprefix('/')}; {advice}")


def _node_names(content: Mapping[Any, Any], above: str, what: str) -> Iterator[str]:
    """Every name with parameters below it: keys may be names, namespaces, or both joined by slashes."""
    for key, value in content.items():
        name = f"{above}/{str(key).strip('/')}"
        shown = name.removeprefix("/")
        if not isinstance(value, Mapping) or not value:
            raise ConfigError(f"{what}: {shown} is not below {PARAMETERS}: (NODE:, {PARAMETERS}:, then the values)")
        inner = {str(entry): part for entry, part in value.items()}
        if PARAMETERS in inner:
            parameters = inner.pop(PARAMETERS)
            if parameters is not None and not isinstance(parameters, Mapping):
                raise ConfigError(f"{what}: {PARAMETERS} of {shown} takes names and values, got {parameters!r}")
            yield name
        yield from _node_names(inner, name, what)


def _matches(pattern: str, node: str) -> bool:
    """As ROS 2 matches names in parameter files: `*` is one part of a name, `**` any number of them."""
    parts = pattern.strip("/").split("/")
    expression = "".join(
        r"(/[^/]+)*" if part == "**" else "/" + re.escape(part).replace(r"\*", "[^/]+") for part in parts
    )
    return re.fullmatch(expression, node) is not None
