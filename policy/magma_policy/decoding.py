"""Constrained greedy decoding: exactly seven ids, each the best of the 256 action ids; nothing else can come out."""

from __future__ import annotations

import torch
from torch import Tensor

from magma_policy.action_tokens import ACTION_DIMS
from magma_policy.model import Magma, Prefix


@torch.inference_mode()
def decode_action_ids(model: Magma, prefix: Prefix) -> Tensor:
    """Greedy seven action ids (B, 7) after `prefix`, one decoder step each over the kept cache."""
    ids: list[Tensor] = []
    hidden = prefix.last_hidden
    for step in range(ACTION_DIMS):
        chosen = model.action_logits(hidden).argmax(dim=-1) + model.first_action_id
        ids.append(chosen)
        if step < ACTION_DIMS - 1:
            _, prefix = model.extend(model.embed(chosen[:, None]), prefix)
            hidden = prefix.last_hidden
    return torch.stack(ids, dim=1)
