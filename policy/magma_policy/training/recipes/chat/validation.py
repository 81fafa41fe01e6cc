"""How often a model gives the right answer to a conversation's last question, word for word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from magma_policy.families.interface import GenerationSettings, Message
from magma_policy.families.magma import Magma, Processor
from magma_policy.files.image_files import read_image
from magma_policy.inference.generation import generate_ids
from magma_policy.inference.static_decoder import StaticDecoders
from magma_policy.training.recipes.chat.rows import Conversation

LONGEST = 64


@dataclass(frozen=True)
class Measurement:
    """`right_percent` of `count` answers are the right one."""

    right_percent: float
    count: int

    def __str__(self) -> str:
        return f"{self.right_percent:.1f} % of {self.count} answers right"


class Validator:
    """Asks the last questions of held-out conversations."""

    def __init__(self, processor: Processor, rows: Sequence[Conversation], max_num_crops: int) -> None:
        self._processor = processor
        self._rows = list(rows)
        self._crops = max_num_crops

    @torch.inference_mode()
    def measure(self, model: Magma) -> Measurement:
        """Greedy answers, compared without case and punctuation."""
        decoders = StaticDecoders(model)
        right = sum(plain(self._answer(model, row, decoders)) == plain(row.turns[-1].answer) for row in self._rows)
        return Measurement(100.0 * right / len(self._rows), len(self._rows))

    def _answer(self, model: Magma, row: Conversation, decoders: StaticDecoders) -> str:
        *earlier, last = row.turns
        images = [read_image(path) for path in row.images]
        message = Message(last.question, images, None, self._crops, earlier, literal=True)
        stop = self._processor.tokenizer.tokens.end_of_turn
        kv_cache = model.read_inputs(self._processor([message]))
        ids: list[int] = []
        for (id_,) in generate_ids(model, kv_cache, GenerationSettings(LONGEST), (stop,), decoders):
            if id_ is not None and id_ != stop:
                ids.append(id_)
        return self._processor.tokenizer.decode(ids)


def plain(text: str) -> str:
    """The words alone, in lower case."""
    return " ".join(re.findall(r"\w+", text.lower()))
