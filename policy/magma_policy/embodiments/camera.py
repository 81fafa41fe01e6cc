"""A robot's calibrated camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

from magma_policy.checks import require, require_size

MAX_PICTURE_SIDE = 8192
"""Pixels of the longest side of a camera's picture."""


@dataclass(frozen=True)
class CameraCalibration:
    """A robot's calibrated camera: marks are cast to the plane z = `plane_height_m` of the base frame.

    `intrinsics` is K (3x3, pixels, at `image_height` x `image_width`); `extrinsics` is the 4x4 transform from the
    base frame to the camera's optical frame (x right, y down, z forward).
    """

    intrinsics: tuple[tuple[float, ...], ...]
    extrinsics: tuple[tuple[float, ...], ...]
    image_height: int
    image_width: int
    plane_height_m: float

    def __post_init__(self) -> None:
        for name, size in (("intrinsics", 3), ("extrinsics", 4)):
            rows = getattr(self, name)
            require(len(rows) == size and all(len(r) == size for r in rows), f"camera {name} must be {size}x{size}")
        values = [v for row in (*self.intrinsics, *self.extrinsics) for v in row]
        require(all(math.isfinite(v) for v in values), "camera matrices must be finite")
        (fx, _, _), (below, fy, _), last = self.intrinsics
        require(
            min(fx, fy) >= 1e-3 and max(fx, fy) <= 1e6 and (below, *last) == (0.0, 0.0, 0.0, 1.0),
            "camera intrinsics must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels with fx and fy positive, got "
            f"{self.intrinsics}",
        )
        rotation = [row[:3] for row in self.extrinsics[:3]]
        for i, row in enumerate(rotation):
            for k, other in enumerate(rotation[: i + 1]):
                product = sum(a * b for a, b in zip(row, other, strict=True))
                require(
                    abs(product - (i == k)) <= 1e-3,
                    "camera extrinsics must be [R t; 0 1] with a rotation R, but its rows "
                    f"{k} and {i} multiply to {product:g}",
                )
        require(self.extrinsics[3] == (0.0, 0.0, 0.0, 1.0), "camera extrinsics must end with the row [0, 0, 0, 1]")
        for side in (self.image_height, self.image_width):
            require_size(side, MAX_PICTURE_SIDE, "camera image size")
        require(
            abs(self.centre[2] - self.plane_height_m) >= 1e-3,
            "the camera lies in the plane of the table; check its extrinsics and plane_height_m",
        )

    @property
    def centre(self) -> tuple[float, float, float]:
        """The camera's centre -R^T t in the base frame, m."""
        rotation = [row[:3] for row in self.extrinsics[:3]]
        shift = [row[3] for row in self.extrinsics[:3]]
        x, y, z = (-sum(rotation[row][axis] * shift[row] for row in range(3)) for axis in range(3))
        return x, y, z
