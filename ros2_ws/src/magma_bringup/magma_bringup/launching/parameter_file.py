"""Check of a parameter file before anything starts, and the same file for nodes in a namespace.

ROS 2 hands each node the part of the file that bears its name and says nothing about the rest: limits under a misspelt
name would be dropped in silence. It knows a node in a namespace by its full name only; here a plain `controller` means
the controller of the launch, wherever that is.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from magma_common.settings.yaml_files import read_yaml
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
    "grounding",
    "click",
    "console",
    "markers",
    "foxglove_server",
    "live_view",
)
"""Every node of this project, whether one launch starts it or not: a lab keeps one file for all its launches."""
PARAMETERS = "ros__parameters"


def check_parameter_file(path: Path, namespace: str = "/") -> None:
    """Refuses a file of which some node would silently miss a part.

    Args:
        path: the YAML file.
        namespace: of the nodes; names in the file may have it, or none.

    Raises:
        ConfigError: not readable, not YAML, a key twice, parameters without `ros__parameters` above them, or a name
            that no node of this project has; one sentence with the file and the name.
    """
    parameters_by_node(path, namespace)


def parameters_by_node(path: Path, namespace: str) -> dict[str, dict[str, Any]]:
    """What a file says about each node of this project, by full names; later entries of the file count before earlier
    ones.

    Args:
        path: the YAML file.
        namespace: of the nodes.

    Raises:
        ConfigError: as `check_parameter_file`.
    """
    what = f"parameter file {path}"
    try:
        content = read_yaml(path)
    except ConfigError as error:
        raise ConfigError(f"{what} {error}") from None
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"{what} holds no parameters; it takes NODE:, below it {PARAMETERS}:, below that the values")
    inside = namespace.rstrip("/")
    found: dict[str, dict[str, Any]] = {}
    for name, parameters in _entries(content, "", what):
        meant = [node for node in NODES if _matches(name, f"{inside}/{node}") or _matches(name, f"/{node}")]
        if not meant:
            last = name.rpartition("/")[2]
            near = difflib.get_close_matches(last, NODES, n=1)
            advice = f"did you mean {near[0]}?" if near else f"the nodes are {', '.join(NODES)}"
            if last in NODES:
                advice = f"the nodes of this launch are in the namespace {namespace}"
            raise ConfigError(f"{what}: no node is called {name.removeprefix('/')}; {advice}")
        for node in meant:
            _merge(found.setdefault(f"{inside}/{node}", {}), parameters)
    return found


def write_for_namespace(path: Path, namespace: str, folder: Path) -> Path:
    """Writes a parameter file with full names in the place of plain ones, for nodes in a namespace.

    Args:
        path: the YAML file.
        namespace: of the nodes, beginning with a slash.
        folder: where to write it.

    Returns:
        The new file.

    Raises:
        ConfigError: as `check_parameter_file`; or a value that no parameter takes.
    """
    content = {name: {PARAMETERS: values} for name, values in parameters_by_node(path, namespace).items()}
    written = folder / f"{len(list(folder.iterdir()))}_{path.name}"
    try:
        _refuse_empty(content, "")
        # JSON is the part of YAML that every dialect reads alike.
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"parameter file {path} holds a value that no parameter takes: {error}") from None
    written.write_text(text + "\n", encoding="utf-8")
    return written


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping):
            if not isinstance(into.get(name), dict):
                into[name] = {}
            _merge(into[name], value)
        else:
            into[name] = value


def _refuse_empty(values: Mapping[str, Any], above: str) -> None:
    """JSON's word for an empty value is a text in ROS' YAML."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            _refuse_empty(value, f"{above}{name}.")
        elif value is None:
            raise ValueError(f"{above}{name} is empty")


def _entries(content: Mapping[Any, Any], above: str, what: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every name with parameters below it, and these: keys may be names, namespaces, or both joined by slashes."""
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
            yield name, parameters or {}
        yield from _entries(inner, name, what)


def _matches(pattern: str, node: str) -> bool:
    """As ROS 2 matches names in parameter files: `*` is one part of a name, `**` any number of them."""
    parts = pattern.strip("/").split("/")
    expression = "".join(
        r"(/[^/]+)*" if part == "**" else "/" + re.escape(part).replace(r"\*", "[^/]+") for part in parts
    )
    return re.fullmatch(expression, node) is not None
