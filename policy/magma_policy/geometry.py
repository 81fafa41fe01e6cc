"""Pinhole geometry: pixels to points on a plane of the base frame."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from magma_policy.config import ConfigError, GeometryConfig


class TablePlane:
    """Projects pixels on the plane z = `plane_height_m` of the base frame.

    A pixel (u, v) and the plane determine a homography: with H = K [r1 r2 (r3 h + t)] of the base->camera transform,
    (u, v, 1) ~ H (x, y, 1). Its inverse is a constant of the config, not a checkpoint tensor.
    """

    def __init__(self, config: GeometryConfig) -> None:
        self.width, self.height = config.image_width, config.image_height
        intrinsics, extrinsics = np.array(config.intrinsics), np.array(config.extrinsics)
        rotation, translation = extrinsics[:3, :3], extrinsics[:3, 3]
        columns = [rotation[:, 0], rotation[:, 1], rotation[:, 2] * config.plane_height_m + translation]
        homography = intrinsics @ np.stack(columns, axis=1)
        if abs(np.linalg.det(homography)) < 1e-9:
            raise ConfigError("the camera lies in the plane of the table; check geometry extrinsics and plane height")
        self.inverse = np.linalg.inv(homography).astype(np.float32)

    def project(self, marks: Tensor) -> Tensor:
        """(..., 2) marks as fractions (x, y) of the picture's width and height to (..., 2) metres in the base frame.

        Pixels at or above the horizon have no point on the plane; the homogeneous scale is kept away from zero so that
        they land far away instead of at infinity, and distances are bounded to 2 m.
        """
        inverse = torch.from_numpy(self.inverse).to(marks.device)
        size = torch.tensor([self.width, self.height], dtype=torch.float32, device=marks.device)
        pixels = marks.float() * size
        homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1) @ inverse.T
        scale = homogeneous[..., 2:]
        scale = torch.where(scale.abs() < 1e-6, torch.full_like(scale, 1e-6), scale)
        return (homogeneous[..., :2] / scale).clamp(-2.0, 2.0)
