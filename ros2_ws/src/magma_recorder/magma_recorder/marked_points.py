"""Where a task's objects are marked in recordings: points fixed to frames of /tf, told per instruction in a YAML file.

    put the carrot on the plate:
      source_centre: {frame: carrot}
      source_tip: {frame: carrot, at: [0.06, 0.0, 0.0]}
      target_rest_point: {frame: plate, at: [0.0, 0.0, 0.012]}

`at` is in the frame, in metres. Whatever publishes the frames will do: a simulator, or fiducials or a pose estimator on
a real robot. Points that are left out stay unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magma_common.settings.yaml_files import read_yaml
from magma_contracts.demonstrations import OBJECT_MARKS
from magma_contracts.errors import ConfigError
from magma_contracts.text import brief


@dataclass(frozen=True)
class FramePoint:
    """A point fixed to a frame: `at` (3,) m."""

    frame: str
    at: tuple[float, float, float] = (0.0, 0.0, 0.0)


MarkedPoints = Mapping[str, Mapping[str, FramePoint]]
"""By instruction, then by name of the point."""


def read_marked_points(path: Path) -> MarkedPoints:
    """Reads the file.

    Raises:
        ConfigError: no such file, not YAML, or an entry that is unknown or not allowed; the text names it.
    """
    try:
        values = read_yaml(path)
    except ConfigError as error:
        raise ConfigError(f"{path} {error}") from None
    if not isinstance(values, Mapping) or not values:
        raise ConfigError(f"{path}: expected instructions, each with its points")
    try:
        return {str(instruction).strip(): _points(str(instruction), points) for instruction, points in values.items()}
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _points(instruction: str, values: Any) -> dict[str, FramePoint]:
    if not isinstance(values, Mapping) or not values:
        raise ConfigError(f"{instruction!r}: expected points, such as source_centre: {{frame: carrot}}")
    unknown = sorted(set(map(str, values)) - set(OBJECT_MARKS))
    if unknown:
        raise ConfigError(f"{instruction!r}: unknown points {', '.join(unknown)}; there are {', '.join(OBJECT_MARKS)}")
    return {str(name): _point(f"{instruction!r}: {name}", value) for name, value in values.items()}


def _point(where: str, value: Any) -> FramePoint:
    if not isinstance(value, Mapping) or not set(value) <= {"frame", "at"} or not isinstance(value.get("frame"), str):
        raise ConfigError(f"{where}: expected {{frame: NAME, at: [x, y, z]}}, got {brief(value)}")
    at = value.get("at", (0.0, 0.0, 0.0))
    try:
        x, y, z = (float(item) for item in at)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: at takes three numbers in metres, got {brief(at)}") from error
    if not np.isfinite([x, y, z]).all():
        raise ConfigError(f"{where}: at takes finite numbers, got {brief(at)}")
    return FramePoint(value["frame"], (x, y, z))
