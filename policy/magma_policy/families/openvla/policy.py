"""A loaded OpenVLA as a policy: image and instruction in, end-effector deltas out."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from magma_contracts.actions import DELTA_SIZE
from magma_policy.families.acting import ActingPolicy, Chosen, Session, Stopwatch
from magma_policy.families.interface import ActRequest
from magma_policy.families.openvla import checkpoint as checkpoints
from magma_policy.families.openvla.checkpoint import Checkpoint
from magma_policy.families.openvla.model import IMAGE_ID
from magma_policy.families.openvla.prompt import robot_prompt


class Policy(ActingPolicy):
    """An OpenVLA and what its actions mean; see `ActingPolicy`. It does not talk: nothing taught it to."""

    _read_checkpoint = staticmethod(checkpoints.load)

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self.model = checkpoint.model
        self.tokenizer = checkpoint.tokenizer
        self.images = checkpoint.images
        super().__init__(checkpoint, device)

    @property
    def _pad_id(self) -> int:
        # The first id behind the vocabulary.
        return self.model.config.base_vocab_size

    def _instruction_ids(self, instruction: str) -> list[int]:
        prompt = robot_prompt(instruction, self.model.config.prompt)
        self.tokenizer.check_words(instruction)
        begin, *rest = self.tokenizer.encode(prompt)
        return [begin, IMAGE_ID, *rest]

    def _check_length(self, request: ActRequest) -> None:
        text = len(self._prompt_ids(request, request.session)) - 1
        self._require_room(text, self.model.config.patches, DELTA_SIZE)

    def _choose(self, requests: Sequence[ActRequest], sessions: Sequence[Session], watch: Stopwatch) -> list[Chosen]:
        prompts = [self._prompt_ids(r, s) for r, s in zip(requests, sessions, strict=True)]
        # The frames as they come: what a robot's adapter does to them first belongs to another model's evaluation.
        pixels = torch.stack([self.images.pixels(request.image) for request in requests])
        watch.lap("preprocess")
        visual = self.model.encode_image(pixels.to(self.device, self._dtype))
        self._synchronise()
        watch.lap("vision")
        ids, attention = self._pad(prompts)
        kv_cache = self.model.prefill(ids, visual, attention)
        self._synchronise()
        watch.lap("prefill")
        chosen = self._decode(kv_cache, None, sessions)
        watch.lap("decode")
        return [(ids, None) for ids in chosen]
