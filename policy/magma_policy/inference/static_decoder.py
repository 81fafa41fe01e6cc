"""Decoding over a cache of fixed size, one token at a time; on CUDA as captured graphs.

The work of one step is the same whatever was read before, so on a GPU it is recorded once and replayed: no Python, no
kernel launches and no waiting between the tokens of an action. The same code runs uncaptured on other devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from magma_contracts.actions import DELTA_SIZE
from magma_policy.inference.finite import REFUSED_ID, can_choose
from magma_policy.inference.kv_cache import Cache, KVCache
from magma_policy.inference.model import ActionModel

# Prompts differ by a few tokens; caches are made in steps of this many, so that one recording serves them all.
CAPACITY_STEP = 128
# Memory that idle decoders may hold.
KEPT_BYTES = 2**30
# Runs before recording, in which libraries choose their kernels and allocate their workspaces.
WARM_UP_RUNS = 3


def round_up(length: int) -> int:
    """The cache size that holds `length` tokens."""
    return -(-length // CAPACITY_STEP) * CAPACITY_STEP


class StaticDecoders:
    """Decoders that are lent out and kept for the next one who needs that size, since recording takes a while.

    Idle ones are at most `kept`, and together at most `kept_bytes`: one for eight robots at Magma-8B's size has 0.4 GB,
    one for a long text more than 1 GB.
    """

    def __init__(self, model: ActionModel, kept: int = 8, kept_bytes: int = KEPT_BYTES) -> None:
        self._model = model
        self._kept = kept
        self._kept_bytes = kept_bytes
        self._idle: list[tuple[tuple[int, int], StaticDecoder]] = []

    @contextmanager
    def lend(self, batch: int, length: int) -> Iterator[StaticDecoder]:
        """One for `batch` rows of at least `length` tokens, the borrower's alone until the block ends."""
        key = (batch, round_up(length))
        found = next((entry for entry in self._idle if entry[0] == key), None)
        if found is not None:
            self._idle.remove(found)
        decoder = found[1] if found is not None else StaticDecoder(self._model, *key)
        try:
            yield decoder
        finally:
            # Those longest unused go when there are too many.
            self._idle = [*self._idle, (key, decoder)][-self._kept :]
            while self.idle_bytes > self._kept_bytes:
                self._idle.pop(0)

    @property
    def idle_bytes(self) -> int:
        """Memory that the idle ones hold."""
        return sum(decoder.size_bytes for _, decoder in self._idle)


class StaticDecoder:
    """Buffers for `batch` rows of at most `capacity` tokens, and the steps that run over them."""

    @torch.inference_mode()
    def __init__(self, model: ActionModel, batch: int, capacity: int) -> None:
        self.model = model
        self.capacity = capacity
        sizes = model.sizes
        self.device = model.decoder_device

        def buffer(*shape: int, dtype: torch.dtype = model.decoder_dtype) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=self.device)

        shape = (batch, sizes.kv_heads, capacity, sizes.head_dim)
        self.cache: Cache = [(buffer(*shape), buffer(*shape)) for _ in range(sizes.layers)]
        self.hidden = buffer(batch, sizes.hidden)
        self.visible = buffer(batch, capacity, dtype=torch.bool)
        self.position = buffer(batch, dtype=torch.int64)
        self.slot = buffer(1, dtype=torch.int64)
        self.next_ids = buffer(batch, dtype=torch.int64)
        self.ids = buffer(batch, DELTA_SIZE, dtype=torch.int64)
        self.token_logits = buffer(batch, sizes.vocabulary, dtype=torch.float32)
        # How far the cache is filled, as the CPU knows it; a recorded step always looks at the whole cache.
        self.length = 0
        self._graphs: dict[str, torch.cuda.CUDAGraph] = {}

    @property
    def size_bytes(self) -> int:
        """Memory of the buffers that grow with rows and length."""
        return sum(t.nbytes for pair in self.cache for t in pair) + self.token_logits.nbytes

    @torch.inference_mode()
    def load(self, kv_cache: KVCache) -> None:
        """Continue after `kv_cache`. Raises ValueError when it leaves no room."""
        length = kv_cache.length
        if length >= self.capacity:
            raise ValueError(f"{length} tokens leave no room in a cache for {self.capacity}")
        for (keys, values), (old_keys, old_values) in zip(self.cache, kv_cache.cache, strict=True):
            keys[:, :, :length].copy_(old_keys)
            values[:, :, :length].copy_(old_values)
            # A recorded step weighs the whole cache, the part behind the prompt with zeros; and 0 * NaN is NaN.
            values[:, :, length:].zero_()
        self.visible.zero_()
        self.visible[:, :length] = True if kv_cache.visible is None else kv_cache.visible
        self.position.copy_(kv_cache.next_position)
        self.slot.fill_(length)
        self.hidden.copy_(kv_cache.last_hidden)
        self.length = length

    @torch.inference_mode()
    def action_ids(self) -> Tensor:
        """The seven greedy action ids (B, 7) after what was loaded; they stay on the device, and so does the verdict on
        their logits: a row that cannot be chosen from has `REFUSED_ID` seven times."""
        self._require_room(DELTA_SIZE - 1)
        self._run("action", self._all_actions)
        self.length += DELTA_SIZE - 1
        return self.ids.clone()

    @torch.inference_mode()
    def logits_after(self, ids: Tensor) -> Tensor:
        """Read one id per row (B,) and give the logits (B, vocabulary) of the next; overwritten by the next call."""
        self._require_room(1)
        self.next_ids.copy_(ids)
        self._run("token", self._one_token)
        self.length += 1
        return self.token_logits

    def _require_room(self, tokens: int) -> None:
        if self.length + tokens > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens; {self.length} are there and {tokens} more came")

    def _run(self, name: str, work: Callable[[int], None]) -> None:
        if self.device.type != "cuda":
            work(self.length)
            return
        if name not in self._graphs:
            self._graphs[name] = self._record(work)
        self._graphs[name].replay()

    def _record(self, work: Callable[[int], None]) -> torch.cuda.CUDAGraph:
        """Record `work`; the buffers that it changes are put back, so that the recording is without effect."""
        changed = [self.hidden, self.visible, self.position, self.slot, self.next_ids]
        saved = [t.clone() for t in changed]

        def restore() -> None:
            for tensor, value in zip(changed, saved, strict=True):
                tensor.copy_(value)

        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                work(self.capacity)
                restore()
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work(self.capacity)
        restore()
        return graph

    def _read(self, tokens: Tensor, limit: int) -> None:
        """One embedding per row (B, 1, H); `limit` bounds the part of the cache that is looked at."""
        self.visible.index_fill_(1, self.slot, True)
        mask = self.visible[:, None, None, :limit]
        out = self.model.extend_in_place(tokens, self.position[:, None], self.cache, self.slot, mask)
        self.hidden.copy_(out[:, 0])
        self.position += 1
        self.slot += 1

    def _all_actions(self, length: int) -> None:
        seen: list[Tensor] = []
        for step in range(DELTA_SIZE):
            logits = self.model.action_logits(self.hidden)
            chosen = logits.argmax(dim=-1) + self.model.first_action_id
            seen.append(logits)
            self.ids[:, step].copy_(chosen)
            if step < DELTA_SIZE - 1:
                self._read(self.model.embed(chosen[:, None]), min(length + step + 1, self.capacity))
        self.ids.masked_fill_(~can_choose(torch.stack(seen, dim=1)).all(dim=1, keepdim=True), REFUSED_ID)

    def _one_token(self, length: int) -> None:
        self._read(self.model.embed(self.next_ids[:, None]), min(length + 1, self.capacity))
        self.token_logits.copy_(self.model.logits(self.hidden))
