"""A calibrated pinhole camera: where a point of the robot's base frame is in its picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_contracts.action_spec import LARGEST_SIDE
from magma_contracts.errors import ConfigError
from magma_contracts.text import brief

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class CameraModel:
    """A calibrated camera.

    `intrinsics` is K (3x3, pixels, at `image_height` x `image_width`, counted from the corner of the first pixel, so
    that pixel centres are at half-integers); `extrinsics` is the 4x4 transform from the base frame to the camera's
    optical frame (x right, y down, z forward), metres: point_camera = E @ point_base.

    Raises:
        ConfigError: matrices that are no camera's.
    """

    intrinsics: Matrix
    extrinsics: Matrix
    image_height: int
    image_width: int

    def __post_init__(self) -> None:
        for name, size in (("intrinsics", 3), ("extrinsics", 4)):
            rows = getattr(self, name)
            _require(len(rows) == size and all(len(r) == size for r in rows), f"camera {name} must be {size}x{size}")
        values = [v for row in (*self.intrinsics, *self.extrinsics) for v in row]
        _require(all(math.isfinite(v) for v in values), "camera matrices must be finite")
        (fx, _, _), (below, fy, _), last = self.intrinsics
        _require(
            min(fx, fy) >= 1e-3 and max(fx, fy) <= 1e6 and (below, *last) == (0.0, 0.0, 0.0, 1.0),
            "camera intrinsics must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels with fx and fy positive, got "
            f"{self.intrinsics}",
        )
        rotation = [row[:3] for row in self.extrinsics[:3]]
        for i, row in enumerate(rotation):
            for k, other in enumerate(rotation[: i + 1]):
                product = sum(a * b for a, b in zip(row, other, strict=True))
                _require(
                    abs(product - (i == k)) <= 1e-3,
                    "camera extrinsics must be [R t; 0 1] with a rotation R, but its rows "
                    f"{k} and {i} multiply to {product:g}",
                )
        _require(self.extrinsics[3] == (0.0, 0.0, 0.0, 1.0), "camera extrinsics must end with the row [0, 0, 0, 1]")
        for side in (self.image_height, self.image_width):
            _require(
                1 <= side <= LARGEST_SIDE,
                f"camera image size must be positive and at most {LARGEST_SIDE}, got {brief(side)}",
            )

    @property
    def centre(self) -> tuple[float, float, float]:
        """The camera's centre -R^T t in the base frame, m."""
        rotation = [row[:3] for row in self.extrinsics[:3]]
        shift = [row[3] for row in self.extrinsics[:3]]
        x, y, z = (-sum(rotation[row][axis] * shift[row] for row in range(3)) for axis in range(3))
        return x, y, z


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def project(
    points: NDArray[np.floating], intrinsics: NDArray[np.floating], extrinsics: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Points (..., 3) of the base frame, m, to pixels (..., 2); NaN where a point is behind the camera or unknown.

    `intrinsics` (3, 3) and `extrinsics` (4, 4) as in `CameraModel`.
    """
    seen = points @ extrinsics[:3, :3].T + extrinsics[:3, 3]
    pixels = seen @ intrinsics.T
    depth = np.where(pixels[..., 2:] > 0, pixels[..., 2:], np.nan)
    return pixels[..., :2] / depth
