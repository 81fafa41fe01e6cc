"""Constrained greedy decoding: exactly seven ids, each the best of the 256 action ids; nothing else can come out."""

from __future__ import annotations

import torch
from torch import Tensor

from magma_policy.action_tokens import ACTION_DIMS
from magma_policy.model import Magma, Prefix


@torch.inference_mode()
def decode_action_ids(model: Magma, prefix: Prefix, state: Tensor | None = None) -> Tensor:
    """Greedy seven action ids (B, 7) after `prefix`, one decoder step each over the kept cache.

    `state` are the state tokens (B, 7, H) of a model that has them: step i reads the i-th with the previous id.
    """
    if state is not None:
        _, prefix = model.extend(state[:, :1], prefix)
    ids: list[Tensor] = []
    for step in range(ACTION_DIMS):
        chosen = model.action_logits(prefix.last_hidden).argmax(dim=-1) + model.first_action_id
        ids.append(chosen)
        if step < ACTION_DIMS - 1:
            token = model.embed(chosen[:, None])
            if state is not None:
                token = token + state[:, step + 1 : step + 2]
            _, prefix = model.extend(token, prefix)
    return torch.stack(ids, dim=1)
