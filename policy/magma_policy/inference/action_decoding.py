"""Constrained greedy decoding: exactly seven ids, each the best of the 256 action ids; nothing else can come out."""

from __future__ import annotations

import torch
from torch import Tensor

from magma_contracts.actions import DELTA_SIZE
from magma_policy.inference.finite import REFUSED_ID, can_choose
from magma_policy.inference.kv_cache import KVCache
from magma_policy.inference.model import ActionModel


@torch.inference_mode()
def decode_action_ids(
    model: ActionModel, kv_cache: KVCache, state: Tensor | None = None, draft: Tensor | None = None
) -> Tensor:
    """Greedy seven action ids (B, 7) after `kv_cache`; all `REFUSED_ID` in a row whose logits cannot be chosen from
    (`magma_policy.inference.finite`), which no coding of actions decodes.

    `state` are the state tokens (B, 7, H) of a model that has them. A `draft` (B, 7), such as the ids of the image
    before or what a model reads in its state tokens, lets all seven be read at once: passes over the decoder are saved
    and the ids stay the same.
    """
    if draft is None:
        return _decode_one_by_one(model, kv_cache, state)
    if state is not None:
        return _decode_from_draft(model, kv_cache, state, draft)
    return _decode_behind_guess(model, kv_cache, draft)


def _judged(ids: Tensor, logits: Tensor) -> Tensor:
    """Ids (B, 7) chosen from logits (B, 7, 256); a row is refused as a whole when one of them was no choice."""
    return ids.masked_fill(~can_choose(logits).all(dim=1, keepdim=True), REFUSED_ID)


def _decode_one_by_one(model: ActionModel, kv_cache: KVCache, state: Tensor | None) -> Tensor:
    """One decoder step per id over the kept cache; step i reads the i-th state token with the previous id."""
    if state is not None:
        _, kv_cache = model.extend(state[:, :1], kv_cache)
    logits = model.action_logits(kv_cache.last_hidden)
    return _continued(model, kv_cache, [logits.argmax(dim=-1) + model.first_action_id], [logits], state)


def _continued(
    model: ActionModel, kv_cache: KVCache, ids: list[Tensor], seen: list[Tensor], state: Tensor | None = None
) -> Tensor:
    """All seven ids, the rest of them one by one, behind those (B,) that were chosen from the logits (B, 256) `seen`;
    `kv_cache` ends before the last of them."""
    while len(ids) < DELTA_SIZE:
        token = model.embed(ids[-1][:, None])
        if state is not None:
            token = token + state[:, len(ids) : len(ids) + 1]
        _, kv_cache = model.extend(token, kv_cache)
        seen.append(model.action_logits(kv_cache.last_hidden))
        ids.append(seen[-1].argmax(dim=-1) + model.first_action_id)
    return _judged(torch.stack(ids, dim=1), torch.stack(seen, dim=1))


def _decode_behind_guess(model: ActionModel, kv_cache: KVCache, guess: Tensor) -> Tensor:
    """Greedy ids after checking all of `guess` (B, 7) at once; from its first wrong id on, one by one.

    Speculative decoding (Leviathan et al., arXiv 2211.17192) with a guess that costs nothing: a right one saves six
    passes, a wrong one costs hardly more than none.
    """
    read, checked = model.extend(model.embed(guess[:, :-1]), kv_cache)
    hidden = torch.cat([kv_cache.last_hidden[:, None], read], dim=1)
    logits = model.action_logits(hidden)
    best = logits.argmax(dim=-1) + model.first_action_id
    right = int((best == guess)[:, :-1].long().cumprod(dim=1).sum(dim=1).min())
    # What was read behind a wrong id says nothing, neither about the next ids nor about the numbers.
    ids = list(best[:, : right + 1].unbind(dim=1))
    seen = list(logits[:, : right + 1].unbind(dim=1))
    return _continued(model, checked.first(kv_cache.length + right), ids, seen)


def _decode_from_draft(model: ActionModel, kv_cache: KVCache, state: Tensor | None, draft: Tensor) -> Tensor:
    """Greedy ids by fixed-point iteration: read all drafted ids at once, replace each by the best, until none changes.

    An id is final once those before it are, so every pass settles at least one more and the result is the greedy one
    whatever the draft (Jacobi decoding, Santilli et al., arXiv 2305.10427). Nothing reads the seventh.
    """
    for _ in range(DELTA_SIZE):
        logits = model.teacher_forced_action_logits(kv_cache, state, draft)
        best = logits.argmax(dim=-1) + model.first_action_id
        settled = torch.equal(best[:, :-1], draft[:, :-1])
        draft = best
        if settled:
            break
    return _judged(draft, logits)
