"""Anyres "crop" tiling: choose a grid, stretch the image to it, cut it in tiles.

Order of operations is Magma's and matters for parity: scale to 0..1, normalise, then bilinear resize without
antialias on the tensor, then tiles row-major. There is no thumbnail view.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from magma_policy.families.magma.config import ImageConfig


def candidate_grids(max_num_crops: int) -> list[tuple[int, int]]:
    """Allowed (cols, rows) in order of preference on ties: width i in 1..max, height j in 1..max//i."""
    return [(i, j) for i in range(1, max_num_crops + 1) for j in range(1, max_num_crops // i + 1)]


def choose_grid(width: int, height: int, base_size: int, max_num_crops: int) -> tuple[int, int]:
    """(rows, cols) for an image of width x height px.

    Maximises the area of the aspect-preserving fit (capped by the image's own area), then minimises the wasted area.
    """
    best: tuple[int, int] = (1, 1)
    best_score = (-1, 0)
    for cols, rows in candidate_grids(max_num_crops):
        grid_width, grid_height = cols * base_size, rows * base_size
        scale = min(grid_width / width, grid_height / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        score = (effective, -(grid_width * grid_height - effective))
        if score > best_score:
            best, best_score = (rows, cols), score
    return best


def normalise(image: Tensor, config: ImageConfig) -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W): scaled to 0..1, then normalised per channel."""
    mean = torch.tensor(config.mean, device=image.device)
    std = torch.tensor(config.std, device=image.device)
    pixels = (image.to(torch.float32) / 255.0 - mean) / std
    return pixels.permute(0, 3, 1, 2)


def tile_images(images: Tensor, config: ImageConfig) -> tuple[Tensor, tuple[int, int]]:
    """uint8 (B, H, W, 3) rgb, all of one size, to ((B*rows*cols, 3, base, base) float32, (rows, cols)); computed
    where the images are."""
    batch, height, width = images.shape[:3]
    rows, cols = choose_grid(width, height, config.base_size, config.max_num_crops)
    pixels = normalise(images, config)
    base = config.base_size
    if (height, width) != (rows * base, cols * base):
        # Planes, not pixels, lie together as in the original: for the other layout torch has another kernel, whose
        # results differ in the last bit.
        pixels = F.interpolate(
            pixels.contiguous(), size=(rows * base, cols * base), mode="bilinear", align_corners=False, antialias=False
        )
    if (rows, cols) == (1, 1):
        return pixels, (1, 1)
    tiles = pixels.reshape(batch, 3, rows, base, cols, base).permute(0, 2, 4, 1, 3, 5)
    return tiles.reshape(batch * rows * cols, 3, base, base), (rows, cols)


def tile_image(image: np.ndarray, config: ImageConfig) -> tuple[Tensor, tuple[int, int]]:
    """uint8 (H, W, 3) rgb to ((rows*cols, 3, base, base) float32, (rows, cols))."""
    # np.array copies: frames from the network are often read-only, which torch refuses to share silently.
    return tile_images(torch.from_numpy(np.array(image))[None], config)
