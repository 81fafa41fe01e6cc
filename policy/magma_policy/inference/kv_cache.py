"""What a decoder has read so far."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# One (keys, values) pair per layer, each (B, kv_heads, T, head_dim).
Cache = list[tuple[Tensor, Tensor]]


@dataclass
class KVCache:
    """What the decoder has read so far, and how to see it.

    `next_position` (B,) is the position of the next token; `visible` is bool (B, T) over the cache, None when every
    entry counts (no padding); `last_hidden` (B, H) is the final hidden state of the last token read.
    """

    cache: Cache
    next_position: Tensor
    visible: Tensor | None
    last_hidden: Tensor

    @property
    def length(self) -> int:
        """Entries in the cache."""
        return self.cache[0][0].shape[2]

    def expand(self, batch: int) -> KVCache:
        """A batch of one seen as `batch` equal rows, without copying."""
        return KVCache(
            [(k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in self.cache],
            self.next_position.expand(batch),
            self.visible.expand(batch, -1) if self.visible is not None else None,
            self.last_hidden.expand(batch, -1),
        )

    def first(self, length: int) -> KVCache:
        """Only the first `length` entries, as if the later ones had not been read; `last_hidden` means nothing then."""
        return KVCache(
            [(k[:, :, :length], v[:, :, :length]) for k, v in self.cache],
            self.next_position - (self.length - length),
            self.visible[:, :length] if self.visible is not None else None,
            self.last_hidden,
        )

    def select(self, rows: Tensor) -> KVCache:
        """Rows by index, repeats allowed."""
        return KVCache(
            [(k[rows], v[rows]) for k, v in self.cache],
            self.next_position[rows],
            self.visible[rows] if self.visible is not None else None,
            self.last_hidden[rows],
        )
