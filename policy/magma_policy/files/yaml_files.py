"""YAML files from people, read so that nothing in them is silently lost or blown up.

Plain YAML lets a second key of the same name replace the first, and a few lines of anchors stand for gigabytes.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from magma_contracts.errors import ConfigError
from magma_contracts.text import brief, printable


class _Loader(yaml.SafeLoader):
    """Plain values only; a key stands once, and nothing is referred to."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ConfigError(f"refers back in line {self.peek_event().start_mark.line + 1}; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.value in lines:
                raise ConfigError(f"has {brief(key.value)} twice, in lines {lines[key.value]} and {line}; keep one")
            if isinstance(key, yaml.ScalarNode):
                lines[key.value] = line
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path, largest_bytes: int) -> Any:
    """The content of a YAML file of one document. ConfigError names the file and what is wrong with it."""
    try:
        with path.open("rb") as file:
            data = file.read(largest_bytes + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(data) > largest_bytes:
        raise ConfigError(f"{path}: larger than {largest_bytes >> 20} MiB")
    try:
        return yaml.load(data.decode("utf-8-sig"), _Loader)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({printable(error, 160)})") from error
