"""Constrained greedy decoding: exactly seven ids, each the best of the 256 action ids; nothing else can come out."""

from __future__ import annotations

import torch
from torch import Tensor

from magma_policy.action_tokens import ACTION_DIMS
from magma_policy.model import Magma, Prefix


@torch.inference_mode()
def decode_action_ids(model: Magma, prefix: Prefix, state: Tensor | None = None) -> Tensor:
    """Greedy seven action ids (B, 7) after `prefix`.

    `state` are the state tokens (B, 7, H) of a model that has them. Their early read-out then drafts all seven ids,
    which takes two or three decoder passes instead of seven and gives the same ids.
    """
    if state is None:
        return _decode_one_by_one(model, prefix, None)
    draft = model.early_action_logits(state).argmax(dim=-1) + model.first_action_id
    return _decode_from_draft(model, prefix, state, draft)


def _decode_one_by_one(model: Magma, prefix: Prefix, state: Tensor | None) -> Tensor:
    """One decoder step per id over the kept cache; step i reads the i-th state token with the previous id."""
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


def _decode_from_draft(model: Magma, prefix: Prefix, state: Tensor, draft: Tensor) -> Tensor:
    """Greedy ids by fixed-point iteration: read all drafted ids at once, replace each by the best, until none changes.

    An id is final once those before it are, so every pass settles at least one more and the result is the greedy one
    whatever the draft (Jacobi decoding, Santilli et al., arXiv 2305.10427).
    """
    for _ in range(ACTION_DIMS):
        best = model.teacher_forced_action_logits(prefix, state, draft).argmax(dim=-1) + model.first_action_id
        if torch.equal(best, draft):
            break
        draft = best
    return draft
