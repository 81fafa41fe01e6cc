"""Image augmentation without geometry: light and colour change, sensor noise. Marks stay where they are."""

from __future__ import annotations

import torch
from torch import Tensor


def jitter(images: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """uint8 (B, H, W, 3) to uint8: per-image brightness, contrast and channel gains, and Gaussian noise.

    `generator` is the CPU's, whatever device the images are on.
    """
    batch, device = len(images), images.device

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(shape, generator=generator) * 2.0 - 1.0).to(device)

    x = images.to(torch.float32)
    gain = (1.0 + strength * 0.15 * uniform(batch, 1, 1, 1)) * (1.0 + strength * 0.06 * uniform(batch, 1, 1, 3))
    shift = strength * 12.0 * uniform(batch, 1, 1, 1)
    noise = strength * 4.0 * torch.rand((batch, 1, 1, 1), generator=generator).to(device)
    x = x * gain + shift + noise * torch.randn(x.shape, generator=_on(device, generator), device=device)
    return x.clamp_(0, 255).to(torch.uint8)


def _on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """One of that device, which follows from `generator`: a number for every value of every image takes a CPU core
    longer than a GPU's whole training step."""
    if device.type == "cpu":
        return generator
    return torch.Generator(device).manual_seed(int(torch.randint(1 << 62, (), generator=generator)))
