"""Questions and their answers as rows of ids, in Magma's one format: what stands behind the picture, and which of it is
the answer, which alone is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from magma_policy.families.magma import MagmaTokenizer, split_head, text_prompt

IGNORED = -100
"""A label of which nothing is learned."""


class Answered(Protocol):
    """A question about a picture, with its answer."""

    @property
    def question(self) -> str: ...
    @property
    def answer(self) -> str: ...


def encode(samples: Sequence[Answered], tokenizer: MagmaTokenizer, markers: bool) -> tuple[list[list[int]], list[int]]:
    """Ids of every sample behind the part of the prompt that all share (from `<image>` on, answer and end of turn
    included), and how many of the last ids are the answer's."""
    rows, lengths = [], []
    for sample in samples:
        prompt = tokenizer.encode(text_prompt(sample.question, 1, markers))
        # `encode` puts a begin-of-text in front of everything.
        answer = [*tokenizer.encode(sample.answer)[1:], tokenizer.tokens.end_of_turn]
        rows.append(split_head(prompt, tokenizer.tokens.image)[1] + answer)
        lengths.append(len(answer))
    return rows, lengths


def pad_left(rows: list[list[int]], pad: int, device: torch.device, step: int = 1) -> tuple[Tensor, Tensor]:
    """Ids (B, T) of rows of different lengths, and bool (B, T), False on the padding; T is a multiple of `step`."""
    longest = -(-max(map(len, rows)) // step) * step
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=device)
    lengths = torch.tensor([longest - len(row) for row in rows], device=device)
    return ids, torch.arange(longest, device=device) >= lengths[:, None]


def answer_labels(ids: Tensor, lengths: Sequence[int]) -> Tensor:
    """Ids (B, T), padded on the left, with all but each row's answer replaced by `IGNORED`."""
    place = torch.arange(ids.shape[1], device=ids.device)
    start = ids.shape[1] - torch.tensor(lengths, device=ids.device)
    return torch.where(place >= start[:, None], ids, torch.full_like(ids, IGNORED))


def without_digits(text: str) -> str:
    """For a tokenizer's vocabulary: numbers are taught by themselves."""
    return "".join(" " if character.isdigit() else character for character in text)
