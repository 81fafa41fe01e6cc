"""ConvNeXt vision tower with the tensor names of open_clip's `convnext_xxlarge` visual half.

Only stem and stages exist: Magma reads the last stage's dense map and never uses the CLIP head, so head tensors that a
published checkpoint may carry are accepted and ignored by the loader. Geometry from Liu et al., "A ConvNet for the
2020s" (arXiv 2201.03545); LayerNorm eps 1e-5 is that variant's own value.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recomputed

from magma_policy.families.magma.config import VisionConfig


class ChannelLayerNorm(nn.LayerNorm):
    """LayerNorm over the channel axis of a (B, C, H, W) map."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two linear layers with the exact (erf) GELU between."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.activation: nn.Module = nn.GELU()
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.activation(self.fc1(x)))
        return out


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise convolution, LayerNorm, MLP, layer scale `gamma`, residual."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim)
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        # With channels-last memory this permute is free and the MLP's linears read contiguous rows.
        y = self._depthwise(x).permute(0, 2, 3, 1)
        y = self.mlp(self.norm(y)) * self.gamma
        return x + y.permute(0, 3, 1, 2)

    def _depthwise(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and self.conv_dw.weight.dtype == torch.float32:
            # The gradient of a depthwise convolution takes a CPU two to three times as long in bfloat16 as in float32
            # (torch 2.13, with AMX).
            with torch.autocast("cpu", enabled=False):
                exact: Tensor = self.conv_dw(x.float())
                return exact
        out: Tensor = self.conv_dw(x)
        return out


class ConvNeXtStage(nn.Module):
    """Down-sampling (none in the first stage) and `depth` blocks; with `recompute` their insides are not kept for the
    gradients but computed again (gradient checkpointing)."""

    recompute = False

    def __init__(self, previous: int | None, dim: int, depth: int, eps: float) -> None:
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if previous is not None:
            self.downsample = nn.Sequential(
                ChannelLayerNorm(previous, eps=eps), nn.Conv2d(previous, dim, kernel_size=2, stride=2)
            )
        self.blocks = nn.Sequential(*(ConvNeXtBlock(dim, eps) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                x = recomputed(block, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x)
        return x


class ConvNeXt(nn.Module):
    """Stem (4x4 patches) and stages."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, config.dims[0], kernel_size=4, stride=4),
            ChannelLayerNorm(config.dims[0], eps=config.layer_norm_eps),
        )
        previous = (None, *config.dims[:-1])
        self.stages = nn.ModuleList(
            ConvNeXtStage(before, dim, depth, config.layer_norm_eps)
            for before, dim, depth in zip(previous, config.dims, config.depths, strict=True)
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        x = self.stem(pixels)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


class ClipVisual(nn.Module):
    """Carries the name `trunk` of the published layout."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.trunk = ConvNeXt(config)


class VisionTower(nn.Module):
    """`vision_tower.clip_vision_model.trunk...` of the published layout."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.stride = config.stride
        self.clip_vision_model = ClipVisual(config)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(N, 3, S, S) normalised pixels to one (N, C_s, S/stride_s, S/stride_s) map per stage, finest first.

        Raises ValueError when S is not a multiple of the last stage's stride.
        """
        if pixels.shape[-1] % self.stride or pixels.shape[-2] % self.stride:
            raise ValueError(f"tile of {tuple(pixels.shape[-2:])} px is not a multiple of the stride {self.stride}")
        levels: list[Tensor] = self.clip_vision_model.trunk(pixels.contiguous(memory_format=torch.channels_last))
        return levels
