"""Lean forward pass over transformers' Llama modules with a hand-kept key-value cache.

The weights live in `LlamaForCausalLM` (so names, shapes and initialisation are the library's), but a small model spends
most of a library forward in per-layer bookkeeping; this pass calls the same submodules with nothing between. A test
checks that both give the same logits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from magma_policy.config import ConfigError, TextConfig

# One (keys, values) pair per layer, each (B, kv_heads, T, head_dim).
Cache = list[tuple[Tensor, Tensor]]


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
        """(B, T) positions to cos and sin of shape (B, 1, T, head_dim)."""
        key = (positions.device, dtype)
        if key not in self.tables:
            dim = self.config.head_dim
            exponent = torch.arange(0, dim, 2, dtype=torch.float32) / dim
            frequencies = 1.0 / (self.config.rope_theta**exponent)
            angles = torch.outer(torch.arange(self.config.max_position_embeddings, dtype=torch.float32), frequencies)
            angles = torch.cat([angles, angles], dim=-1)
            self.tables[key] = (angles.cos().to(*key), angles.sin().to(*key))
        cos, sin = self.tables[key]
        return cos[positions].unsqueeze(1), sin[positions].unsqueeze(1)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def _rms_norm(norm: torch.nn.Module, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def causal_mask(query_length: int, key_length: int, device: torch.device) -> Tensor:
    """bool (1, 1, Tq, Tk), True where attention is allowed; the queries are the last Tq of the keys."""
    mask = torch.ones(query_length, key_length, dtype=torch.bool, device=device)
    return mask.tril(key_length - query_length)[None, None]


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Grouped-query attention (B, heads, T, d) by plain matrix products.

    The query heads that share a key head are folded into its rows, so keys and values are never repeated. On a CPU this
    is several times faster than the fused kernel's backward for the short sequences here.
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


def run_layers(
    model: LlamaForCausalLM,
    rotary: RotaryTable,
    hidden: Tensor,
    positions: Tensor,
    past: Cache | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Cache]:
    """Decoder layers and final norm over `hidden` (B, T, H) at `positions` (B, T).

    `past` holds the keys and values of everything before (never modified); `mask` is bool (B or 1, 1, T, T_past + T),
    causal when None. Returns the normed hidden states (B, T, H) and the cache extended by these T tokens.
    """
    config = model.config
    batch, length, _ = hidden.shape
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    head_dim = config.hidden_size // heads
    past_length = past[0][0].shape[2] if past is not None else 0
    if mask is None and length > 1:
        mask = causal_mask(length, past_length + length, hidden.device)
    cache: Cache = []
    angles: tuple[Tensor, Tensor] | None = None
    for index, layer in enumerate(model.model.layers):
        attention = layer.self_attn
        x = _rms_norm(layer.input_layernorm, hidden)
        query = attention.q_proj(x).view(batch, length, heads, head_dim).transpose(1, 2)
        key = attention.k_proj(x).view(batch, length, kv_heads, head_dim).transpose(1, 2)
        value = attention.v_proj(x).view(batch, length, kv_heads, head_dim).transpose(1, 2)
        # Looked up here because under autocast the projections' dtype differs from the residual stream's.
        if angles is None:
            angles = rotary.lookup(positions, query.dtype)
        query, key = _rotate(query, *angles), _rotate(key, *angles)
        if past is not None:
            key = torch.cat([past[index][0], key], dim=2)
            value = torch.cat([past[index][1], value], dim=2)
        cache.append((key, value))
        out = _attend(query, key, value, mask)
        hidden = hidden + attention.o_proj(out.transpose(1, 2).reshape(batch, length, heads * head_dim))
        x = _rms_norm(layer.post_attention_layernorm, hidden)
        hidden = hidden + layer.mlp.down_proj(F.silu(layer.mlp.gate_proj(x)) * layer.mlp.up_proj(x))
    return _rms_norm(model.model.norm, hidden), cache
