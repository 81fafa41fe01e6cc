"""Free text: greedy or sampled, one id at a time, until a stop id or the limit."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from magma_policy.errors import NotFiniteError
from magma_policy.finite import REFUSED_ID, can_choose, type_name
from magma_policy.model import Magma, Prefix
from magma_policy.static_decoder import StaticDecoders


class GenerationError(ValueError):
    """Settings or prompts that no text can be generated for."""


@dataclass(frozen=True)
class GenerationSettings:
    """How ids are chosen.

    `temperature` 0 takes the best id always. Otherwise logits are divided by it, then only the `top_k` best (0: all)
    are kept, then the smallest set whose probabilities reach `top_p`, in transformers' order; `seed` None draws anew
    each time. At most `max_new_tokens` ids, the stop id among them.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise GenerationError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise GenerationError(f"temperature must be a number of at least 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise GenerationError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise GenerationError(f"top_k must not be negative, got {self.top_k}")


class Chooser:
    """Picks ids from logits by the settings; holds the state of the random numbers."""

    def __init__(self, settings: GenerationSettings, device: torch.device) -> None:
        self.settings = settings
        self.generator = torch.Generator(device)
        if settings.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(settings.seed)

    def choose(self, logits: Tensor) -> Tensor:
        """Raw float32 logits (B, V) to ids (B,); `REFUSED_ID` in rows that cannot be chosen from."""
        settings = self.settings
        fine = can_choose(logits)
        if settings.temperature == 0:
            return logits.argmax(dim=-1).masked_fill(~fine, REFUSED_ID)
        # On a GPU, drawing by probabilities that are none ends the process's whole context.
        logits = logits.masked_fill(~fine[:, None], 0.0) / settings.temperature
        if 0 < settings.top_k < logits.shape[-1]:
            worst = logits.topk(settings.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < worst, float("-inf"))
        if settings.top_p < 1:
            ordered, order = logits.sort(dim=-1)
            below = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - settings.top_p
            below[:, -1] = False
            logits = logits.masked_fill(below.gather(1, order.argsort(dim=-1)), float("-inf"))
        drawn = torch.multinomial(logits.softmax(dim=-1), 1, generator=self.generator)[:, 0]
        return drawn.masked_fill(~fine, REFUSED_ID)


@torch.inference_mode()
def generate_ids(
    model: Magma, prefix: Prefix, settings: GenerationSettings, stop_ids: Sequence[int], decoders: StaticDecoders
) -> Generator[list[int | None], None, None]:
    """Ids after `prefix`, one per row and step, None in rows that have stopped; the stop id is the last of its row.

    Raises GenerationError when the prompt leaves no room, NotFiniteError when the logits of a running row mean nothing.
    """
    batch = len(prefix.last_hidden)
    limit = min(settings.max_new_tokens, model.config.text.max_position_embeddings - prefix.length)
    if limit < 1:
        raise GenerationError(f"the prompt's {prefix.length} tokens leave no room for an answer")
    chooser = Chooser(settings, prefix.last_hidden.device)
    running = [True] * batch
    with decoders.lend(batch, prefix.length + limit) as decoder:
        decoder.load(prefix)
        logits = model.logits(prefix.last_hidden)
        for step in range(limit):
            chosen = chooser.choose(logits)
            ids = chosen.tolist()
            if any(active and id_ == REFUSED_ID for id_, active in zip(ids, running, strict=True)):
                raise NotFiniteError.of(model.config.name, type_name(prefix.last_hidden.dtype))
            yield [id_ if active else None for id_, active in zip(ids, running, strict=True)]
            running = [active and id_ not in stop_ids for id_, active in zip(ids, running, strict=True)]
            if not any(running) or step == limit - 1:
                return
            # Rows that have stopped go on unseen, whatever becomes of them.
            logits = decoder.logits_after(chosen.clamp(min=0))
