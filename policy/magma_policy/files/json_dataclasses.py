"""Frozen dataclasses in JSON files, both ways."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

from magma_contracts.files.typed_tables import from_dict, naming
from magma_policy.files.json_files import read_object

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """Dataclass to plain JSON types."""
    return dict(json.loads(json.dumps(dataclasses.asdict(config))))


def save_json(config: Any, path: Path) -> None:
    """Write a dataclass as JSON."""
    path.write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")


def load_json(cls: type[T], path: Path) -> T:
    """Read a dataclass from JSON; errors name the file."""
    data = read_object(path)
    with naming(path):
        return from_dict(cls, data, str(path))
