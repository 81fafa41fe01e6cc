"""How an id is chosen from logits: the best, or drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from magma_policy.families.interface import GenerationSettings
from magma_policy.inference.finite import REFUSED_ID, can_choose


class Sampler:
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
