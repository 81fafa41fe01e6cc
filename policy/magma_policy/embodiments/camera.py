"""A robot's calibrated camera, as models that place marks on the table need it."""

from __future__ import annotations

from dataclasses import dataclass

from magma_contracts.camera import CameraModel
from magma_policy.checks import require


@dataclass(frozen=True)
class CameraCalibration(CameraModel):
    """Marks are cast to the plane z = `plane_height_m` of the base frame."""

    plane_height_m: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            abs(self.centre[2] - self.plane_height_m) >= 1e-3,
            "the camera lies in the plane of the table; check its extrinsics and plane_height_m",
        )
