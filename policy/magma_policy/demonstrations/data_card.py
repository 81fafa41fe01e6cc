"""The data card of a demonstration set: robot, camera, table, clock and the names of the objects."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magma_contracts.camera import LARGEST_SIDE
from magma_contracts.demonstrations import CARD, check_version
from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import read_text
from magma_contracts.text import printable
from magma_data import layout
from magma_policy.demonstrations.episode_file import DemonstrationError
from magma_policy.embodiments import robots
from magma_policy.embodiments.camera import CameraCalibration

LARGEST_CARD = 1 << 24
"""Bytes. A card is a page of text."""


@dataclass(frozen=True)
class ObjectWords:
    """What a person calls an object."""

    noun: str
    colour: str


@dataclass(frozen=True)
class DataCard:
    """What the model needs from the card (meta/magma.json, in older sets card.json); its other entries (counts, seeds,
    noise) are for people.

    `robot` names the arm and camera set-up ("" when the card does not say); `intrinsics` K in pixels of the stored
    frames of `image_height` x `image_width` px (the card's `image_size` is the side of square ones, or both);
    `extrinsics` base -> camera_optical; both empty where nobody calibrated the camera; `objects` by their name in the
    episodes.
    """

    robot: str
    intrinsics: tuple[tuple[float, ...], ...]
    extrinsics: tuple[tuple[float, ...], ...]
    image_height: int
    image_width: int
    table_height_m: float
    step_period_s: float
    objects: Mapping[str, ObjectWords]

    @classmethod
    def read(cls, directory: Path) -> DataCard:
        """Read the card of a folder; DemonstrationError names a missing or malformed entry."""
        path = directory / layout.CARD
        if not path.is_file():
            path = directory / CARD
        if not path.is_file():
            raise DemonstrationError(f"{path}: no such data card; is {directory} a demonstration set?")
        try:
            data: dict[str, Any] = json.loads(read_text(path, LARGEST_CARD))
            if not isinstance(data, dict):
                raise ValueError("expected an object")
            check_version(data)
            size = data["image_size"]
            height, width = size if isinstance(size, list) else (size, size)
            name = data.get("robot", "")
            if path.name != CARD and not {"camera_intrinsics", "camera_extrinsics_base_to_optical"} & set(data):
                return cls.of_mapping(
                    path, robots.check_name(name) if name != "" else "", (height, width), data["step_period_s"], None
                )
            return cls(
                robot=robots.check_name(name) if name != "" else "",
                intrinsics=_intrinsics(data["camera_intrinsics"]),
                extrinsics=_extrinsics(data["camera_extrinsics_base_to_optical"]),
                image_height=_side(height),
                image_width=_side(width),
                table_height_m=_number("table_height_m", data["table_height_m"], -100.0, 100.0),
                step_period_s=_number("step_period_s", data["step_period_s"], 1e-3, 60.0),
                objects={str(known): _words(known, words) for known, words in data.get("objects", {}).items()},
            )
        except json.JSONDecodeError as error:
            raise DemonstrationError(f"{path}: not valid JSON ({printable(error)})") from error
        except KeyError as error:
            raise DemonstrationError(f"{path}: lacks {printable(error)}") from error
        except (ConfigError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, OSError) as error:
            raise DemonstrationError(f"{path}: {printable(error)}") from error

    @classmethod
    def of_mapping(
        cls,
        where: Path,
        robot: str,
        size: tuple[int, int],
        step_period_s: float,
        calibration: tuple[Any, Any, float] | None,
    ) -> DataCard:
        """The card of a set of others; `calibration` are intrinsics, extrinsics and the table's height, m, where they
        are known. DemonstrationError names a value that cannot be."""
        try:
            return cls(
                robot=robot,
                intrinsics=_intrinsics(calibration[0]) if calibration else (),
                extrinsics=_extrinsics(calibration[1]) if calibration else (),
                image_height=_side(size[0]),
                image_width=_side(size[1]),
                table_height_m=_number("table_height_m", calibration[2], -100.0, 100.0) if calibration else 0.0,
                step_period_s=_number("step_period_s", step_period_s, 1e-3, 100.0),
                objects={},
            )
        except (ValueError, TypeError) as error:
            raise DemonstrationError(f"{where}: the mapping's calibration: {printable(error)}") from error

    @property
    def width_height(self) -> np.ndarray:
        """float64 (2,): what pixels (x, y) are divided by to make fractions of the image."""
        return np.array([self.image_width, self.image_height], dtype=np.float64)

    def camera(self, height_above_table_m: float) -> CameraCalibration:
        """The card's camera, with the plane that is `height_above_table_m` above the table. ConfigError where it was
        not calibrated."""
        if not self.intrinsics:
            raise ConfigError(
                f"the camera of {self.robot!r} is not calibrated: give `calibration` in its mapping file, or train "
                "with "
                "--geometry none"
            )
        return CameraCalibration(
            intrinsics=self.intrinsics,
            extrinsics=self.extrinsics,
            image_height=self.image_height,
            image_width=self.image_width,
            plane_height_m=self.table_height_m + height_above_table_m,
        )

    def fits(self, other: DataCard) -> bool:
        """Same camera, image and clock, within rounding."""
        mine = [v for m in (self.intrinsics, self.extrinsics) for row in m for v in row]
        theirs = [v for m in (other.intrinsics, other.extrinsics) for row in m for v in row]
        return (
            len(mine) == len(theirs)
            and all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) for a, b in zip(mine, theirs, strict=True))
            and (self.image_height, self.image_width) == (other.image_height, other.image_width)
            and math.isclose(self.table_height_m, other.table_height_m, abs_tol=1e-6)
            and math.isclose(self.step_period_s, other.step_period_s)
        )


def _matrix(name: str, rows: Any, size: int) -> np.ndarray:
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be {size}x{size} finite numbers, got shape {matrix.shape}")
    return matrix


def _intrinsics(rows: Any) -> tuple[tuple[float, ...], ...]:
    matrix = _matrix("camera_intrinsics", rows, 3)
    if min(matrix[0, 0], matrix[1, 1]) <= 0 or not np.allclose(matrix[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
        raise ValueError(f"camera_intrinsics must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]], got {matrix.tolist()}")
    return tuple(map(tuple, matrix.tolist()))


def _extrinsics(rows: Any) -> tuple[tuple[float, ...], ...]:
    matrix = _matrix("camera_extrinsics_base_to_optical", rows, 4)
    rotation = matrix[:3, :3]
    if not (
        np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2)
        and np.linalg.det(rotation) > 0
        and np.allclose(matrix[3], [0, 0, 0, 1])
    ):
        raise ValueError(
            f"camera_extrinsics_base_to_optical must be a rotation and a shift (m) above 0 0 0 1, got {matrix.tolist()}"
        )
    return tuple(map(tuple, matrix.tolist()))


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, got {printable(value, 80)}")
    return float(value)


def _side(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= LARGEST_SIDE or value % 1:
        raise ValueError(f"image_size must be whole pixels from 1 to {LARGEST_SIDE}, got {printable(value, 80)}")
    return int(value)


def _words(name: str, words: Any) -> ObjectWords:
    made = ObjectWords(**words)
    if not all(isinstance(word, str) and word.strip() for word in (made.noun, made.colour)):
        raise ValueError(f"object {name[:80]!r} needs a noun and a colour, got {made}")
    return made
