"""OpenVLA's vision towers: timm's vision transformers, read one block before their end.

Names of parameters are those of the published tensors, which are timm's but for the layer scales. What the features do
not depend on (the last block, the last norm, SigLIP's pooling head) stands in the published files and is not built;
`unused_tensors` lists it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from magma_policy.families.openvla.config import TowerConfig

# timm's for both towers.
LAYER_NORM_EPS = 1e-6


class Attention(nn.Module):
    """Self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        out = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(batch, length, width))
        return projected


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.activation = nn.GELU()
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.activation(self.fc1(x)))
        return out


class LayerScale(nn.Module):
    """A factor per channel, under the name that the published files have for timm's gamma."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_factor


class Block(nn.Module):
    """Attention, then a perceptron, each behind a norm and added to what came in."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        scaled = config.kind == "dinov2"
        self.norm1 = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        self.attn = Attention(config.width, config.heads)
        self.ls1: nn.Module = LayerScale(config.width) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(config.width, config.mlp_width)
        self.ls2: nn.Module = LayerScale(config.width) if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class PatchEmbed(nn.Module):
    """Square patches to vectors."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, kernel_size=config.patch, stride=config.patch)

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.proj(pixels).flatten(2).transpose(1, 2)
        return out


class VisionTransformer(nn.Module):
    """Features of the patches behind the second-to-last block, without a final norm."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.prefix = 0
        if config.kind == "dinov2":
            self.prefix = 1 + config.registers
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
            self.reg_token = nn.Parameter(torch.zeros(1, config.registers, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.patches, config.width))
        self.patch_embed = PatchEmbed(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth - 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised pixels to (B, patches, width), row by row."""
        x = self.patch_embed(pixels) + self.pos_embed
        if self.prefix:
            batch = len(x)
            x = torch.cat([self.cls_token.expand(batch, -1, -1), self.reg_token.expand(batch, -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        return x[:, self.prefix :]


class VisionBackbone(nn.Module):
    """One tower, or two that see the same image, each as its own preprocessing has it."""

    def __init__(self, towers: Sequence[TowerConfig]) -> None:
        super().__init__()
        self.featurizer = VisionTransformer(towers[0])
        self.fused_featurizer = VisionTransformer(towers[1]) if len(towers) == 2 else None

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3 per tower, S, S) to (B, patches, width of all towers), the first tower's channels first."""
        if self.fused_featurizer is None:
            only: Tensor = self.featurizer(pixels)
            return only
        first, second = pixels.split(3, dim=1)
        return torch.cat([self.featurizer(first), self.fused_featurizer(second)], dim=2)


TOWER_NAMES = ("vision_backbone.featurizer.", "vision_backbone.fused_featurizer.")
"""What the names of the towers' tensors begin with."""


def unused_tensors(towers: Sequence[TowerConfig]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published tensors of these towers that the features do not depend on."""
    found: dict[str, tuple[int, ...]] = {}
    for name, config in zip(TOWER_NAMES, towers, strict=False):
        last = f"{name}blocks.{config.depth - 1}."
        with torch.device("meta"):
            found |= {f"{last}{n}": tuple(t.shape) for n, t in Block(config).state_dict().items()}
        found |= _of_linears({f"{name}norm": (config.width,)})
        if config.kind == "siglip":
            pool, width = f"{name}attn_pool.", config.width
            found[f"{pool}latent"] = (1, 1, width)
            found |= _of_linears(
                {
                    f"{pool}q": (width, width),
                    f"{pool}kv": (2 * width, width),
                    f"{pool}proj": (width, width),
                    f"{pool}norm": (width,),
                    f"{pool}mlp.fc1": (config.mlp_width, width),
                    f"{pool}mlp.fc2": (width, config.mlp_width),
                }
            )
    return found


def _of_linears(weights: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Weights and biases of layers by their weights' shapes."""
    return {
        f"{name}.{part}": shape if part == "weight" else shape[:1]
        for name, shape in weights.items()
        for part in ("weight", "bias")
    }
