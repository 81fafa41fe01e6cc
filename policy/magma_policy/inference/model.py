"""What decoding needs of a model, whatever its family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from magma_policy.inference.kv_cache import Cache, KVCache


@dataclass(frozen=True)
class DecoderSizes:
    """Sizes of a decoder: layers, key-value heads and their width, hidden state, vocabulary, and positions it reads."""

    layers: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int
    positions: int


class DecoderModel(Protocol):
    """A decoder that reads embeddings after a KV cache. Hidden states are those behind the final norm."""

    @property
    def name(self) -> str: ...
    @property
    def sizes(self) -> DecoderSizes: ...
    @property
    def decoder_dtype(self) -> torch.dtype: ...
    @property
    def decoder_device(self) -> torch.device: ...

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T) ids to (B, T, H) embeddings."""
        ...

    def extend(self, tokens: Tensor, kv_cache: KVCache) -> tuple[Tensor, KVCache]:
        """Read T further embeddings (B, T, H) after `kv_cache`: hidden states (B, T, H) and the new cache."""
        ...

    def extend_in_place(self, tokens: Tensor, positions: Tensor, cache: Cache, slot: Tensor, mask: Tensor) -> Tensor:
        """One embedding per row (B, 1, H) at `positions` (B, 1), its keys and values written at `slot`, an int64 tensor
        of one entry, of a cache of fixed size; `mask` bool (B, 1, 1, capacity). The hidden states (B, 1, H).

        Nothing may depend on a value that the CPU would have to know: a GPU records it as a graph."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., H) to float32 logits over the vocabulary."""
        ...


class ActionModel(DecoderModel, Protocol):
    """A decoder that says actions in ids of their own, which follow one another from `first_action_id` on."""

    @property
    def first_action_id(self) -> int: ...

    def action_logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., H) to float32 logits over the action ids alone, ascending ids."""
        ...

    def teacher_forced_action_logits(self, kv_cache: KVCache, state: Tensor | None, action_ids: Tensor) -> Tensor:
        """Logits (B, 7, 256) of the seven action ids given the true earlier ones, as decoding would see them."""
        ...
