"""Questions and images to what the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from magma_policy.errors import ObservationError
from magma_policy.families.images import check_image
from magma_policy.families.interface import Message
from magma_policy.families.magma.config import MagmaConfig
from magma_policy.families.magma.conversation import encode_answered, encode_parts, parts_of
from magma_policy.families.magma.model_inputs import ModelInputs
from magma_policy.families.magma.projector import visual_token_count
from magma_policy.families.magma.tiling import tile_image
from magma_policy.families.magma.tokenizer import MagmaTokenizer


class Processor:
    """The published preprocessing: tiles per image and the templated prompt with its second begin-of-text."""

    def __init__(self, tokenizer: MagmaTokenizer, config: MagmaConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config

    def pixels(self, image: np.ndarray, max_num_crops: int | None = None) -> tuple[Tensor, tuple[int, int]]:
        """A uint8 rgb image to tiles (rows * cols, 3, S, S) float32 and (rows, cols)."""
        check_image(image)
        limit = self.config.image.max_num_crops
        if max_num_crops is not None and not 1 <= max_num_crops <= limit:
            raise ObservationError(f"max_num_crops must lie in 1..{limit}, got {max_num_crops}")
        return tile_image(image, replace(self.config.image, max_num_crops=max_num_crops or limit))

    def prompt(self, message: Message) -> str:
        """The templated text; raises InstructionError for a question or system text that would break it."""
        return "".join(part.text for part in parts_of(message, self.config.image_markers))

    def encode(self, message: Message) -> list[int]:
        """Ids of the prompt; raises as `prompt`. Markup in people's words is never a special token."""
        parts = parts_of(message, self.config.image_markers)
        return [id_ for row in encode_parts(self.tokenizer, parts) for id_ in row]

    def encode_answered(self, message: Message, answer: str) -> tuple[list[int], list[bool]]:
        """Ids of a message with its answer, and which of them are to be learned; see `conversation.encode_answered`."""
        return encode_answered(self.tokenizer, message, answer, self.config.image_markers)

    def __call__(self, messages: Sequence[Message]) -> ModelInputs:
        """A batch of messages; raises InstructionError or ObservationError for one that cannot be asked."""
        ids = [self.encode(m) for m in messages]
        tiled = [[self.pixels(image, m.max_num_crops) for image in m.images] for m in messages]
        return self.assemble(ids, tiled)

    def assemble(
        self, ids: Sequence[list[int]], pictures: Sequence[Sequence[tuple[Tensor, tuple[int, int]]]]
    ) -> ModelInputs:
        """The ids of prompts and the tiled images of each, padded to a batch."""
        if not ids:
            raise ValueError("a batch needs at least one prompt")
        longest = max(map(len, ids))
        side = self.config.image.base_size
        pad = self.tokenizer.tokens.pad
        tiles = [torch.cat([t for t, _ in row]) if row else torch.zeros(0, 3, side, side) for row in pictures]
        pixel_values = torch.nn.utils.rnn.pad_sequence(tiles, batch_first=True)
        sizes = [torch.tensor([grid for _, grid in row], dtype=torch.int64).reshape(-1, 2) for row in pictures]
        lengths = torch.tensor([longest - len(row) for row in ids])[:, None]
        inputs = ModelInputs.of(
            torch.tensor([[pad] * (longest - len(row)) + row for row in ids]),
            pixel_values,
            torch.nn.utils.rnn.pad_sequence(sizes, batch_first=True),
            torch.arange(longest) >= lengths,
            self.config,
        )
        for row in range(len(ids)):
            self._check_length(len(ids[row]), inputs.grids(row))
        return inputs

    def _check_length(self, text: int, grids: list[tuple[int, int]]) -> None:
        visual = sum(visual_token_count(r, c, self.config.cells_per_tile) - 1 for r, c in grids)
        limit = self.config.text.max_position_embeddings
        if text + visual >= limit:
            raise ObservationError(
                f"the prompt has {text + visual} tokens and the model reads {limit}; give fewer or smaller pictures"
            )
