"""Pinhole geometry: pixels to points on horizontal planes of the base frame, for a batch of calibrated cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from magma_policy.embodiments.camera import CameraCalibration

# Rays that hardly sink reach a plane far away or never; projected points stay within this distance of the base, m.
REACH_M = 2.0


@dataclass(frozen=True)
class Cameras:
    """One calibrated camera per row, as float32 tensors.

    The ray of the point (x, y), in fractions of the image, starts at `centre` (B, 3) = -R^T t and has the direction
    `directions` (B, 3, 3) @ (x, y, 1), with [R | t] the transform from base to camera_optical; `plane_height` (B,) is
    the height of the table's plane in m.
    """

    centre: Tensor
    directions: Tensor
    plane_height: Tensor

    @classmethod
    def of(cls, calibrations: Sequence[CameraCalibration], device: torch.device | str = "cpu") -> Cameras:
        """The cameras of several calibrations, one row each."""
        centres, directions, planes = [], [], []
        for camera in calibrations:
            rotation = np.array(camera.extrinsics)[:3, :3]
            to_pixels = np.diag([camera.image_width, camera.image_height, 1.0])
            centres.append(camera.centre)
            directions.append(rotation.T @ np.linalg.inv(np.array(camera.intrinsics)) @ to_pixels)
            planes.append(camera.plane_height_m)
        return cls(
            torch.tensor(centres, dtype=torch.float32, device=device),
            torch.tensor(np.stack(directions), dtype=torch.float32, device=device),
            torch.tensor(planes, dtype=torch.float32, device=device),
        )

    @classmethod
    def stack(cls, parts: Sequence[Cameras]) -> Cameras:
        """The rows of several, one after the other."""
        return cls(
            torch.cat([part.centre for part in parts]),
            torch.cat([part.directions for part in parts]),
            torch.cat([part.plane_height for part in parts]),
        )

    def select(self, rows: Tensor) -> Cameras:
        """Rows by index, repeats allowed."""
        return Cameras(self.centre[rows], self.directions[rows], self.plane_height[rows])

    def project(self, marks: Tensor, height: Tensor | None = None) -> Tensor:
        """Points where the rays of `marks` meet the plane z = `height`.

        marks (B, K, 2) as fractions (x, y) of the image; `height` (B,) in metres, the table's plane when None.
        Returns (B, K, 2) metres in the base frame, at most `REACH_M` away.
        """
        level = self.plane_height if height is None else height
        marks = marks.float()
        rays = torch.cat([marks, torch.ones_like(marks[..., :1])], dim=-1) @ self.directions.transpose(1, 2)
        sink = torch.where(rays[..., 2].abs() < 1e-6, torch.full_like(rays[..., 2], 1e-6), rays[..., 2])
        distance = (level - self.centre[:, 2])[:, None] / sink
        return (self.centre[:, None, :2] + rays[..., :2] * distance[..., None]).clamp(-REACH_M, REACH_M)
