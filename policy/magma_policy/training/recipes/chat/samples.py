"""Conversations as what a Magma reads and what it is to say: ids, tiles, and labels on the answers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from magma_policy.families.interface import Message
from magma_policy.families.magma import MagmaConfig, ModelInputs, Processor, choose_grid, visual_token_count
from magma_policy.training.answered_texts import IGNORED
from magma_policy.training.recipes.chat.held_actions import HeldBatch
from magma_policy.training.recipes.chat.rows import Conversation


@dataclass(frozen=True)
class Encoded:
    """A conversation's ids, and which of them are answers or the ends of answers."""

    ids: list[int]
    taught: list[bool]


@dataclass(frozen=True)
class ChatBatch:
    """Inputs on the CPU, and labels (B, T) int64 of the merged sequence, `IGNORED` where nothing is learned; steps of
    demonstrations, on the device, where actions are held."""

    inputs: ModelInputs
    labels: Tensor
    held: HeldBatch | None = None


def encode(conversation: Conversation, processor: Processor) -> Encoded:
    """Raises InstructionError for words that no prompt can be made of."""
    *earlier, last = conversation.turns
    # How many images there are decides the prompt; the pixels are not needed yet.
    images = [np.zeros((1, 1, 3), np.uint8)] * len(conversation.images)
    ids, taught = processor.encode_answered(Message(last.question, images, earlier=earlier, literal=True), last.answer)
    return Encoded(ids, taught)


def grids_of(conversation: Conversation, config: MagmaConfig, max_num_crops: int) -> list[tuple[int, int]]:
    """Rows and columns of tiles of each picture."""
    side = config.image.base_size
    return [choose_grid(width, height, side, max_num_crops) for width, height in conversation.sizes]


def length(encoded: Encoded, grids: Sequence[tuple[int, int]], config: MagmaConfig) -> int:
    """Tokens that the decoder reads: each `<image>` is as many as its tiles make."""
    return len(encoded.ids) + sum(visual_token_count(*grid, config.cells_per_tile) - 1 for grid in grids)


def collate(
    encoded: Sequence[Encoded], pictures: Sequence[Sequence[np.ndarray]], processor: Processor, max_num_crops: int
) -> ChatBatch:
    """A batch of conversations and their pictures, uint8 rgb (H, W, 3)."""
    tiled = [[processor.pixels(picture, max_num_crops) for picture in row] for row in pictures]
    inputs = processor.assemble([one.ids for one in encoded], tiled)
    labels = [
        _labels(one, [grid for _, grid in tiles], processor.config) for one, tiles in zip(encoded, tiled, strict=True)
    ]
    longest = max(map(len, labels))
    padded = [[IGNORED] * (longest - len(row)) + row for row in labels]
    return ChatBatch(inputs, torch.tensor(padded))


def _labels(encoded: Encoded, grids: Sequence[tuple[int, int]], config: MagmaConfig) -> list[int]:
    counts = iter([visual_token_count(*grid, config.cells_per_tile) for grid in grids])
    labels: list[int] = []
    for id_, taught in zip(encoded.ids, encoded.taught, strict=True):
        if id_ == config.tokens.image:
            labels += [IGNORED] * next(counts)
        else:
            labels.append(id_ if taught else IGNORED)
    return labels
