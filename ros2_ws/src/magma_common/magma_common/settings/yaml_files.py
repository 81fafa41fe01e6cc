"""YAML files that people write and pass on, read so that nothing in them is silently lost or blown up.

Scalars are those of ROS parameter files (`ros_yaml`). Plain YAML lets a second section of the same name replace the
first, and a few lines of anchors stand for gigabytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from magma_common.settings.ros_yaml import RosLoader
from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import read_text
from magma_contracts.files.typed_tables import check_once
from magma_contracts.text import printable

LARGEST_BYTES = 1 << 20
"""A robot's file has a few kilobytes."""
MOST_NODES = 20_000
"""Values of a document, each counted as often as it is referred to."""
_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: Path) -> Any:
    """The content of a YAML file of one document.

    Raises:
        ConfigError: no such file, not UTF-8, not YAML, too large, or a key that stands twice; the text is one line and
            does not name the file.
    """
    return parse_yaml(read_text(path, LARGEST_BYTES))


def parse_yaml(text: str) -> Any:
    """The content of a YAML text of one document; ConfigError as `read_yaml`."""
    try:
        loader = RosLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}" if mark is not None else ""
        what = ", ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(printable(f"is not valid YAML: {what}{where}")) from None
    except RecursionError:
        raise ConfigError("is nested too deeply for a configuration") from None
    except (yaml.YAMLError, ValueError, OverflowError, TypeError) as error:
        # ValueError and its like: dates and numbers that do not exist.
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(printable(f"is not valid YAML: {error}")) from None


def _check(root: Node) -> None:
    """ConfigError when a key stands twice in a section, or aliases blow the document up."""
    waiting = [root]
    count = 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MOST_NODES:
            raise ConfigError(f"holds more than {MOST_NODES} values, too many for a configuration")
        if isinstance(node, SequenceNode):
            waiting += node.value
        elif isinstance(node, MappingNode):
            for key, value in node.value:
                if not isinstance(key, ScalarNode):
                    raise ConfigError(f"is not a configuration: the key in line {key.start_mark.line + 1} is no name")
                waiting.append(value)
            check_once((key.value, key.start_mark.line + 1) for key, _ in node.value if key.tag != _MERGE)
