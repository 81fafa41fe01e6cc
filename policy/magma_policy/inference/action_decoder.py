"""A Llama that reads embeddings, images among them, after a KV cache and says actions in ids of their own.

What the models of all acting families share. A family's model adds what makes embeddings of its images; names of
modules are the published tensor names, so `language_model` stands directly in the model.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from magma_policy.inference.action_tokens import NUM_BINS
from magma_policy.inference.kv_cache import Cache, KVCache
from magma_policy.inference.llama import (
    RotaryTable,
    build_language_model,
    causal_mask,
    run_layers,
    run_layers_in_place,
)
from magma_policy.inference.llama_config import TextConfig
from magma_policy.inference.model import DecoderSizes


class ActionDecoder(nn.Module):
    """The decoder's half of a model (`magma_policy.inference.model.ActionModel`). All methods take batches; ids are
    int64."""

    language_model: LlamaForCausalLM
    vision_modules: ClassVar[tuple[str, ...]] = ()
    """Names of the modules that make embeddings of images."""

    def add_decoder(self, name: str, text: TextConfig, base_vocab_size: int, image_id: int) -> None:
        """Build the decoder, randomly initialised; for the constructor of a model.

        Args:
            name: of the model.
            text: its sizes.
            base_vocab_size: the last 256 of so many entries are the action ids.
            image_id: stands in prompts where an image's tokens come; need not be in the vocabulary.
        """
        self.language_model = build_language_model(text)
        self._name, self._text = name, text
        self.rotary = RotaryTable(text)
        self.first_action_id = base_vocab_size - NUM_BINS
        self.image_id = image_id
        self.recompute = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def sizes(self) -> DecoderSizes:
        """Of the decoder."""
        text = self._text
        return DecoderSizes(
            layers=text.num_hidden_layers,
            kv_heads=text.num_key_value_heads,
            head_dim=text.head_dim,
            hidden=text.hidden_size,
            vocabulary=self.language_model.lm_head.weight.shape[0],
            positions=text.max_position_embeddings,
        )

    @property
    def decoder_dtype(self) -> torch.dtype:
        """Type of the decoder's numbers."""
        return self.language_model.model.norm.weight.dtype

    @property
    def decoder_device(self) -> torch.device:
        return self.language_model.model.norm.weight.device

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T) ids to (B, T, H) embeddings."""
        embeddings: Tensor = self.language_model.model.embed_tokens(ids)
        return embeddings

    def merge(
        self, ids: Tensor, visual: Tensor, attention: Tensor | None, first_position: int = 0
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Replace each row's single `<image>` id by that image's N visual tokens.

        ids (B, T); visual (B, N, H); attention bool (B, T) or None, False on left padding. Returns embeddings
        (B, T - 1 + N, H), positions (B, T - 1 + N) from `first_position` on, and the attention of the merged sequence.
        Raises ValueError unless every row has exactly one `<image>`.
        """
        is_image = ids == self.image_id
        # Nothing can be read back while a CUDA graph is recorded; the runs before have looked.
        recording = ids.is_cuda and torch.cuda.is_current_stream_capturing()
        if not recording and not bool((is_image.sum(dim=1) == 1).all()):
            counts = is_image.sum(dim=1).tolist()
            raise ValueError(f"every prompt needs exactly one <image> token, got {counts}")
        batch, length = ids.shape
        count = visual.shape[1]
        # As the original does: the placeholder is looked up as id 0, and that embedding is then replaced.
        text = self.embed(ids.masked_fill(is_image, 0))
        start = is_image.int().argmax(dim=1, keepdim=True)
        slot = torch.arange(length - 1 + count, device=ids.device)[None].expand(batch, -1)
        before, after = slot < start, slot >= start + count
        index = torch.where(before, slot, torch.where(after, slot - count + 1, length + slot - start))
        pool = torch.cat([text, visual.to(text.dtype)], dim=1)
        merged = pool.gather(1, index[..., None].expand(-1, -1, pool.shape[-1]))
        if attention is None:
            return merged, slot + first_position, None
        everything = torch.cat([attention, torch.ones_like(attention[:, :1]).expand(-1, count)], dim=1)
        visible = everything.gather(1, index)
        return merged, (visible.cumsum(dim=1) - 1).clamp(min=0) + first_position, visible

    def read(
        self,
        hidden: Tensor,
        positions: Tensor,
        visible: Tensor | None,
        kv_cache: KVCache | None = None,
        last_only: bool = False,
    ) -> tuple[Tensor, KVCache]:
        """Run the decoder over new tokens after `kv_cache`; returns their hidden states (B, T, H) and the new kv_cache.

        With `last_only` the hidden states are those of the last token, (B, 1, H), and cost less.
        """
        past = kv_cache.cache if kv_cache is not None else None
        before = kv_cache.visible if kv_cache is not None else None
        past_length = kv_cache.length if kv_cache is not None else 0
        length = hidden.shape[1]
        mask: Tensor | None = None
        if visible is not None or before is not None:
            shape = (hidden.shape[0], length)
            visible = visible if visible is not None else torch.ones(shape, dtype=torch.bool, device=hidden.device)
            if past_length:
                earlier = (hidden.shape[0], past_length)
                if before is None:
                    before = torch.ones(earlier, dtype=torch.bool, device=hidden.device)
                visible = torch.cat([before, visible], dim=1)
            mask = causal_mask(length, past_length + length, hidden.device) & visible[:, None, None, :]
            # A padding query sees nothing; letting it see itself keeps its softmax finite (its output is never used).
            own = torch.eye(length, dtype=torch.bool, device=hidden.device)
            mask = mask | nn.functional.pad(own, (past_length, 0))[None, None]
        out, cache = run_layers(
            self.language_model, self.rotary, hidden, positions, past, mask, last_only, self.recompute
        )
        return out, KVCache(cache, positions[:, -1] + 1, visible, out[:, -1])

    def extend(self, tokens: Tensor, kv_cache: KVCache) -> tuple[Tensor, KVCache]:
        """Read T further embeddings (B, T, H) after `kv_cache`."""
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        return self.read(tokens, kv_cache.next_position[:, None] + steps, None, kv_cache)

    def extend_in_place(self, tokens: Tensor, positions: Tensor, cache: Cache, slot: Tensor, mask: Tensor) -> Tensor:
        """One embedding per row (B, 1, H) over a cache of fixed size (`llama.run_layers_in_place`)."""
        return run_layers_in_place(self.language_model, self.rotary, tokens, positions, cache, slot, mask)

    def read_head(self, ids: Tensor) -> KVCache:
        """The beginning (1, T) that all prompts share; its cache can serve many prompts."""
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        return self.read(self.embed(ids), positions, None)[1]

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., H) to float32 logits over the whole vocabulary."""
        out: Tensor = self.language_model.lm_head(hidden)
        return out.float()

    def action_logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., H) to float32 logits (..., 256) over the action ids alone, ascending ids.

        The same numbers as the slice of `logits`, without computing the rest of the vocabulary.
        """
        weight = self.language_model.lm_head.weight[self.first_action_id : self.first_action_id + NUM_BINS]
        return nn.functional.linear(hidden, weight).float()

    def teacher_forced_action_logits(self, kv_cache: KVCache, state: Tensor | None, action_ids: Tensor) -> Tensor:
        """Logits (B, 7, 256) of the seven action ids given the true earlier ones, as decoding would see them."""
        earlier = self.embed(action_ids[:, :-1])
        if state is None:
            hidden, _ = self.extend(earlier, kv_cache)
            return self.action_logits(torch.cat([kv_cache.last_hidden[:, None], hidden], dim=1))
        hidden, _ = self.extend(state + nn.functional.pad(earlier, (0, 0, 1, 0)), kv_cache)
        return self.action_logits(hidden)
