"""Free text: greedy or sampled, one id at a time, until a stop id or the limit."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch

from magma_policy.errors import GenerationError, NotFiniteError
from magma_policy.families.interface import GenerationSettings
from magma_policy.files.weight_files import type_name
from magma_policy.inference.finite import REFUSED_ID
from magma_policy.inference.kv_cache import KVCache
from magma_policy.inference.model import DecoderModel
from magma_policy.inference.sampler import Sampler
from magma_policy.inference.static_decoder import StaticDecoders


@torch.inference_mode()
def generate_ids(
    model: DecoderModel,
    kv_cache: KVCache,
    settings: GenerationSettings,
    stop_ids: Sequence[int],
    decoders: StaticDecoders,
) -> Generator[list[int | None], None, None]:
    """Ids after `kv_cache`, one per row and step, None in rows that have stopped; the stop id is the last of its row.

    Raises GenerationError when the prompt leaves no room, NotFiniteError when the logits of a running row mean nothing.
    """
    batch = len(kv_cache.last_hidden)
    limit = min(settings.max_new_tokens, model.sizes.positions - kv_cache.length)
    if limit < 1:
        raise GenerationError(f"the prompt's {kv_cache.length} tokens leave no room for an answer")
    sampler = Sampler(settings, kv_cache.last_hidden.device)
    running = [True] * batch
    with decoders.lend(batch, kv_cache.length + limit) as decoder:
        decoder.load(kv_cache)
        logits = model.logits(kv_cache.last_hidden)
        for step in range(limit):
            chosen = sampler.choose(logits)
            ids = chosen.tolist()
            if any(active and id_ == REFUSED_ID for id_, active in zip(ids, running, strict=True)):
                raise NotFiniteError.of(model.name, type_name(kv_cache.last_hidden.dtype))
            yield [id_ if active else None for id_, active in zip(ids, running, strict=True)]
            running = [active and id_ not in stop_ids for id_, active in zip(ids, running, strict=True)]
            if not any(running) or step == limit - 1:
                return
            # Rows that have stopped go on unseen, whatever becomes of them.
            logits = decoder.logits_after(chosen.clamp(min=0))
