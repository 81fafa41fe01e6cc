"""What the model reads: padded ids with the tiles of their images, in the published layout of the arguments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from magma_policy.families.magma.config import MagmaConfig


@dataclass(frozen=True)
class ModelInputs:
    """A batch of prompts, on the CPU.

    `input_ids` int64 and `attention_mask` bool are (B, L), padded on the left; `pixel_values` float32 (B, tiles, 3, S,
    S) and `image_sizes` int64 (B, images, 2), rows and columns of tiles, are padded with zeros at the end.
    """

    input_ids: Tensor
    attention_mask: Tensor
    pixel_values: Tensor
    image_sizes: Tensor

    @classmethod
    def of(
        cls,
        input_ids: Tensor,
        pixel_values: Tensor | None,
        image_sizes: Tensor | None,
        attention_mask: Tensor | None,
        config: MagmaConfig,
    ) -> ModelInputs:
        """Check the arguments against each other and fill in those left out. Raises ValueError."""
        ids = input_ids.cpu()
        if ids.dim() != 2 or ids.shape[1] == 0:
            raise ValueError(f"input_ids must be (batch, length), got {tuple(ids.shape)}")
        batch, side = len(ids), config.image.base_size
        mask = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask.cpu().bool()
        if mask.shape != ids.shape or not bool(mask[:, -1].all()) or bool((mask[:, :-1] & ~mask[:, 1:]).any()):
            raise ValueError("attention_mask must have the shape of input_ids and zeros on the left only")
        pixels = torch.zeros(batch, 0, 3, side, side) if pixel_values is None else pixel_values
        sizes = torch.zeros(batch, 0, 2, dtype=torch.int64) if image_sizes is None else image_sizes.cpu()
        if pixels.dim() != 5 or len(pixels) != batch or pixels.shape[2:] != (3, side, side):
            raise ValueError(
                f"pixel_values must be (batch {batch}, tiles, 3, {side}, {side}), got {tuple(pixels.shape)}; "
                "the pictures of one prompt need a batch axis in front"
            )
        if sizes.dim() != 3 or len(sizes) != batch or sizes.shape[2] != 2 or bool((sizes < 0).any()):
            raise ValueError(f"image_sizes must be (batch {batch}, pictures, 2), got {tuple(sizes.shape)}")
        inputs = cls(ids, mask, pixels, sizes)
        vocabulary = config.text.vocab_size
        if bool((ids < 0).any()) or (vocabulary is not None and bool((ids >= vocabulary).any())):
            raise ValueError(f"input_ids must lie in 0..{(vocabulary or 0) - 1}, got {ids.min()}..{ids.max()}")
        for row in range(batch):
            wanted, grids = int((ids[row][mask[row]] == config.tokens.image).sum()), inputs.grids(row)
            tiles = sum(r * c for r, c in grids)
            if wanted != len(grids) or tiles > pixels.shape[1]:
                raise ValueError(
                    f"prompt {row} has {wanted} <image> tokens, {len(grids)} image_sizes with {tiles} tiles, and "
                    f"{pixels.shape[1]} tiles of pixel_values"
                )
        return inputs

    def grids(self, row: int) -> list[tuple[int, int]]:
        """(rows, cols) of the images of one prompt."""
        return [(int(r), int(c)) for r, c in self.image_sizes[row].tolist() if r + c > 0]

    def flat_images(self) -> tuple[Tensor, list[tuple[int, int]]]:
        """All tiles (N, 3, S, S) without padding, and the grids of all images, in the order of the prompts."""
        everything: list[tuple[int, int]] = []
        tiles = []
        for row in range(len(self.input_ids)):
            grids = self.grids(row)
            tiles.append(self.pixel_values[row, : sum(r * c for r, c in grids)])
            everything += grids
        return torch.cat(tiles), everything
