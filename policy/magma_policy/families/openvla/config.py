"""Sizes of an OpenVLA: its vision towers, its decoder and the form of its prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from magma_contracts.actions import DELTA_SIZE
from magma_policy.checks import require, require_size, require_word
from magma_policy.inference.action_tokens import NUM_BINS
from magma_policy.inference.llama_config import TextConfig

Kind = Literal["dinov2", "siglip"]
PromptForm = Literal["pure", "vicuna"]
LEAST_TEXT = 64
"""Positions without which no sentence of a prompt has room for an instruction."""


@dataclass(frozen=True)
class TowerConfig:
    """A vision transformer of timm's: `depth` blocks of which the last is not used, see `vision.VisionTransformer`.

    `registers` and the class token in front of the patches, and layer scales, are DINOv2's; SigLIP has a pooling head,
    which is not used either.
    """

    kind: Kind
    width: int
    depth: int
    heads: int
    mlp_width: int
    patch: int
    image_size: int
    registers: int = 0

    def __post_init__(self) -> None:
        for name, largest in (
            ("width", 2**16),
            ("depth", 1024),
            ("heads", 1024),
            ("mlp_width", 2**18),
            ("patch", 1024),
            ("image_size", 4096),
        ):
            require_size(getattr(self, name), largest, f"vision tower {name}")
        require(self.depth >= 2, "a vision tower has at least 2 blocks, since the last is not used")
        require(
            self.width % self.heads == 0, f"width {self.width} of a vision tower is not shared by {self.heads} heads"
        )
        require(
            self.patch <= self.image_size,
            f"pictures of {self.image_size} pixels hold no patch of {self.patch} for a vision tower",
        )
        require(0 <= self.registers <= 1024, f"vision tower registers must be 0 to 1024, got {self.registers}")
        require(self.kind == "dinov2" or self.registers == 0, "SigLIP has no register tokens")

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return (self.image_size // self.patch) ** 2


def dinov2_large(image_size: int) -> TowerConfig:
    """timm's vit_large_patch14_reg4_dinov2."""
    return TowerConfig("dinov2", 1024, 24, 16, 4096, 14, image_size, registers=4)


def siglip_so400m(image_size: int) -> TowerConfig:
    """timm's vit_so400m_patch14_siglip_224 and _384."""
    return TowerConfig("siglip", 1152, 27, 16, 4304, 14, image_size)


@dataclass(frozen=True)
class OpenVLAConfig:
    """The whole model. One tower, or two whose features of a patch stand behind one another (fused).

    `text.vocab_size` counts the rows of the embedding table, of which the first `base_vocab_size` are the tokenizer's
    own and the last 256 of those the action ids.
    """

    name: str
    towers: tuple[TowerConfig, ...]
    text: TextConfig
    base_vocab_size: int
    prompt: PromptForm

    def __post_init__(self) -> None:
        require_word(self.name, "name")
        require(1 <= len(self.towers) <= 2, f"there must be one vision tower or two, got {len(self.towers)}")
        require(
            len({tower.patches for tower in self.towers}) == 1,
            f"the towers see {[tower.patches for tower in self.towers]} patches; fused ones need as many each",
        )
        require(self.base_vocab_size > NUM_BINS, f"base_vocab_size must exceed {NUM_BINS}, got {self.base_vocab_size}")
        require(
            self.text.vocab_size is not None and self.text.vocab_size > self.base_vocab_size,
            f"{self.text.vocab_size} rows of embeddings leave none for padding behind {self.base_vocab_size} entries",
        )
        least = self.patches + LEAST_TEXT + DELTA_SIZE
        require(
            self.text.max_position_embeddings >= least,
            f"max_position_embeddings {self.text.max_position_embeddings} leave no room for {self.patches} patches, a "
            f"prompt and {DELTA_SIZE} action ids; at least {least} are needed",
        )

    @property
    def patches(self) -> int:
        """Visual tokens of an image."""
        return self.towers[0].patches

    @property
    def vision_width(self) -> int:
        """Channels of a patch's features."""
        return sum(tower.width for tower in self.towers)
