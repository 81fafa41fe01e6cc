"""Pinhole geometry: pixels to points on horizontal planes of the base frame."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from magma_policy.config import ConfigError, GeometryConfig

# Rays that hardly sink reach a plane far away or never; projected points stay within this distance of the base, m.
REACH_M = 2.0


class CalibratedCamera:
    """Casts pixels along their rays to horizontal planes.

    The ray of pixel (u, v) starts at the camera's centre -R^T t and has direction R^T K^-1 (u, v, 1), with [R | t] the
    transform from base to camera_optical. Constants of the config, not checkpoint tensors.
    """

    def __init__(self, config: GeometryConfig) -> None:
        self.width, self.height = config.image_width, config.image_height
        self.plane_height_m = config.plane_height_m
        intrinsics, extrinsics = np.array(config.intrinsics), np.array(config.extrinsics)
        rotation, translation = extrinsics[:3, :3], extrinsics[:3, 3]
        self.centre = (-rotation.T @ translation).astype(np.float32)
        if abs(self.centre[2] - config.plane_height_m) < 1e-3:
            raise ConfigError("the camera lies in the plane of the table; check geometry extrinsics and plane height")
        self.directions = (rotation.T @ np.linalg.inv(intrinsics)).astype(np.float32)

    def project(self, marks: Tensor, height: Tensor | float | None = None) -> Tensor:
        """Points where the rays of `marks` meet the plane z = `height`.

        marks (..., 2) as fractions (x, y) of the picture's width and height; `height` in metres, broadcast over the
        leading axes, the table's plane when None. Returns (..., 2) metres in the base frame, at most `REACH_M` away.
        """
        level = self.plane_height_m if height is None else height
        centre = torch.from_numpy(self.centre).to(marks.device)
        directions = torch.from_numpy(self.directions).to(marks.device)
        size = torch.tensor([self.width, self.height], dtype=torch.float32, device=marks.device)
        pixels = marks.float() * size
        rays = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1) @ directions.T
        sink = torch.where(rays[..., 2].abs() < 1e-6, torch.full_like(rays[..., 2], 1e-6), rays[..., 2])
        distance = (level - centre[2]) / sink
        return (centre[:2] + rays[..., :2] * distance[..., None]).clamp(-REACH_M, REACH_M)
