"""Lean forward pass over transformers' Llama modules with a hand-kept key-value cache.

The weights live in `LlamaForCausalLM` (so names, shapes and initialisation are the library's), but a small model spends
most of a library forward in per-layer bookkeeping; this pass calls the same submodules with nothing between. A test
checks that both give the same logits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recomputed
from transformers import LlamaConfig, LlamaForCausalLM

from magma_contracts.errors import ConfigError
from magma_policy.inference.kv_cache import Cache
from magma_policy.inference.llama_config import TextConfig


def build_language_model(config: TextConfig) -> LlamaForCausalLM:
    """Randomly initialised Llama; ConfigError when the vocabulary size is not known yet."""
    if config.vocab_size is None:
        raise ConfigError("text vocab_size is not set; read it from the checkpoint's embedding table first")
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            rms_norm_eps=config.rms_norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            max_position_embeddings=config.max_position_embeddings,
            tie_word_embeddings=False,
            attention_bias=False,
            mlp_bias=False,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


class RotaryTable:
    """cos and sin of the rotary embedding for every position, computed once per device and dtype."""

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        self.tables: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def lookup(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(B, T) positions to cos and sin of shape (B, 1, T, head_dim); positions lie below the model's maximum."""
        cos, sin = self.table(positions.device, dtype)
        return cos[positions].unsqueeze(1), sin[positions].unsqueeze(1)

    def table(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin (max positions, head_dim)."""
        key = (device, dtype)
        if key not in self.tables:
            dim = self.config.head_dim
            exponent = torch.arange(0, dim, 2, dtype=torch.float32) / dim
            frequencies = 1.0 / (self.config.rope_theta**exponent)
            angles = torch.outer(torch.arange(self.config.max_position_embeddings, dtype=torch.float32), frequencies)
            angles = torch.cat([angles, angles], dim=-1)
            self.tables[key] = (angles.cos().to(*key), angles.sin().to(*key))
        return self.tables[key]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (..., head_dim) turned to their positions."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def _rms_norm(norm: torch.nn.Module, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def causal_mask(query_length: int, key_length: int, device: torch.device) -> Tensor:
    """bool (1, 1, Tq, Tk), True where attention is allowed; the queries are the last Tq of the keys."""
    mask = torch.ones(query_length, key_length, dtype=torch.bool, device=device)
    return mask.tril(key_length - query_length)[None, None]


# From this many scores per head on, a CPU is faster with the fused kernel than with plain matrix products.
FUSED_FROM_SCORES = 128 * 128


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Grouped-query attention (B, heads, T, d); `mask` None allows everything, and is for a single query."""
    on_cpu = query.device.type == "cpu"
    if query.shape[2] == 1 or (on_cpu and (torch.is_grad_enabled() or _scores(query, key) < FUSED_FROM_SCORES)):
        return _attend_by_products(query, key, value, mask)
    if not on_cpu:
        # With a mask only some kernels know grouped queries; repeating keys and values costs next to nothing here.
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=on_cpu)


def _scores(query: Tensor, key: Tensor) -> int:
    return query.shape[2] * key.shape[2]


def _attend_by_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """The query heads that share a key head are folded into its rows, so keys and values are never repeated.

    On a CPU this is several times faster than the fused kernel's backward for short sequences, and for one query it is
    as fast as memory everywhere.
    """
    batch, heads, length, dim = query.shape
    kv_heads, total = key.shape[1], key.shape[2]
    folded = query.reshape(batch, kv_heads, heads // kv_heads * length, dim)
    scores = (folded @ key.transpose(2, 3)).float() * dim**-0.5
    scores = scores.view(batch, kv_heads, heads // kv_heads, length, total)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, :, None], float("-inf"))
    weights = scores.softmax(dim=-1).to(value.dtype).view(batch, kv_heads, -1, total)
    return (weights @ value).view(batch, heads, length, dim)


class _Heads:
    """Shapes of the projections, and the pieces of a layer that both passes below share."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        config = model.config
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.dim: int = config.hidden_size // config.num_attention_heads

    def split(self, x: Tensor, heads: int) -> Tensor:
        """(B, T, heads * d) to (B, heads, T, d)."""
        return x.view(x.shape[0], x.shape[1], heads, self.dim).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """(B, heads, T, d) to (B, T, heads * d)."""
        return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], self.heads * self.dim)


def _mlp(layer: torch.nn.Module, hidden: Tensor) -> Tensor:
    x = _rms_norm(layer.post_attention_layernorm, hidden)
    out: Tensor = layer.mlp.down_proj(F.silu(layer.mlp.gate_proj(x)) * layer.mlp.up_proj(x))
    return out


def _layer(
    layer: torch.nn.Module,
    shape: _Heads,
    hidden: Tensor,
    rotation: tuple[Tensor, Tensor],
    past: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    last_only: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """One decoder layer: hidden states (the last token's with `last_only`), keys and values, the past's in front."""
    attention = layer.self_attn
    cos, sin = rotation
    x = _rms_norm(layer.input_layernorm, hidden)
    key = shape.split(attention.k_proj(x), shape.kv_heads)
    value = shape.split(attention.v_proj(x), shape.kv_heads)
    key = rotate(key, cos, sin)
    if last_only:
        x, hidden = x[:, -1:], hidden[:, -1:]
        cos, sin = cos[:, :, -1:], sin[:, :, -1:]
        mask = mask[:, :, -1:] if mask is not None else None
    query = rotate(shape.split(attention.q_proj(x), shape.heads), cos, sin)
    if past is not None:
        key = torch.cat([past[0], key], dim=2)
        value = torch.cat([past[1], value], dim=2)
    hidden = hidden + attention.o_proj(shape.join(_attend(query, key, value, mask)))
    return hidden + _mlp(layer, hidden), key, value


def run_layers(
    model: LlamaForCausalLM,
    rotary: RotaryTable,
    hidden: Tensor,
    positions: Tensor,
    past: Cache | None = None,
    mask: Tensor | None = None,
    last_only: bool = False,
    recompute: bool = False,
) -> tuple[Tensor, Cache]:
    """Decoder layers and final norm over `hidden` (B, T, H) at `positions` (B, T).

    `past` holds the keys and values of everything before (never modified); `mask` is bool (B or 1, 1, T, T_past + T),
    causal when None. Returns the normed hidden states (B, T, H) and the cache extended by these T tokens. `last_only`
    returns (B, 1, H), the last token's alone: the last layer then computes nothing but keys and values for the others.
    With `recompute` the layers' insides are not kept for the gradients but computed again (gradient checkpointing).
    """
    shape = _Heads(model)
    length = hidden.shape[1]
    past_length = past[0][0].shape[2] if past is not None else 0
    if mask is None and length > 1:
        mask = causal_mask(length, past_length + length, hidden.device)
    # Under autocast the projections' type differs from the residual stream's.
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    rotation = rotary.lookup(positions, dtype)
    cache: Cache = []
    final = len(model.model.layers) - 1
    for index, layer in enumerate(model.model.layers):
        before = past[index] if past is not None else None
        arguments = (layer, shape, hidden, rotation, before, mask, last_only and index == final)
        if recompute and torch.is_grad_enabled():
            # Nothing in a layer is random, so there is no random state to keep.
            hidden, key, value = recomputed(_layer, *arguments, use_reentrant=False, preserve_rng_state=False)
        else:
            hidden, key, value = _layer(*arguments)
        cache.append((key, value))
    return _rms_norm(model.model.norm, hidden), cache


def run_layers_in_place(
    model: LlamaForCausalLM,
    rotary: RotaryTable,
    hidden: Tensor,
    positions: Tensor,
    cache: Cache,
    slot: Tensor,
    mask: Tensor,
) -> Tensor:
    """One token per row over a cache of fixed size: `hidden` (B, 1, H) at `positions` (B, 1) to normed (B, 1, H).

    Its keys and values are written at `slot`, an int64 tensor of one entry; `mask` is bool (B, 1, 1, capacity). Nothing
    here depends on a value that the CPU would have to know, so a CUDA graph can hold it.
    """
    shape = _Heads(model)
    capacity = mask.shape[-1]
    angles: tuple[Tensor, Tensor] | None = None
    for layer, (keys, values) in zip(model.model.layers, cache, strict=True):
        attention = layer.self_attn
        x = _rms_norm(layer.input_layernorm, hidden)
        query = shape.split(attention.q_proj(x), shape.heads)
        angles = angles or rotary.lookup(positions, query.dtype)
        keys.index_copy_(2, slot, rotate(shape.split(attention.k_proj(x), shape.kv_heads), *angles))
        values.index_copy_(2, slot, shape.split(attention.v_proj(x), shape.kv_heads))
        query = rotate(query, *angles)
        out = _attend_by_products(query, keys[:, :, :capacity], values[:, :, :capacity], mask)
        hidden = hidden + attention.o_proj(shape.join(out))
        hidden = hidden + _mlp(layer, hidden)
    return _rms_norm(model.model.norm, hidden)
