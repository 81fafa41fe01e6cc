"""YAML files from people, read so that nothing in them is silently lost or blown up.

Plain YAML lets a second key of the same name replace the first, and a few lines of anchors stand for gigabytes.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import read_text
from magma_contracts.files.typed_tables import check_once, naming
from magma_contracts.text import printable


class _Loader(yaml.SafeLoader):
    """Plain values only; a key stands once, and nothing is referred to."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ConfigError(f"refers back in line {self.peek_event().start_mark.line + 1}; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        check_once((key.value, key.start_mark.line + 1) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path, largest_bytes: int) -> Any:
    """The content of a YAML file of one document. ConfigError names the file and what is wrong with it."""
    with naming(path):
        text = read_text(path, largest_bytes)
        try:
            return yaml.load(text, _Loader)
        except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"not valid YAML ({printable(error, 160)})") from error
