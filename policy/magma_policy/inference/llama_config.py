"""Sizes of a Llama decoder, and how published models write them down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magma_contracts.errors import ConfigError
from magma_policy.checks import require, require_size
from magma_policy.errors import shown
from magma_policy.files.json_values import checked_integer, checked_number

TEXT_SIZES = {
    "hidden_size": 2**16,
    "intermediate_size": 2**18,
    "num_hidden_layers": 1024,
    "num_attention_heads": 1024,
    "num_key_value_heads": 1024,
    "vocab_size": 2**22,
    "max_position_embeddings": 2**20,
}
"""The largest that are taken for a size, each several times those of the largest Llama."""


@dataclass(frozen=True)
class TextConfig:
    """Llama decoder. `vocab_size` None means: read it from the checkpoint's embedding table."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int | None = None
    rms_norm_eps: float = 1e-5
    rope_theta: float = 500000.0
    max_position_embeddings: int = 8192

    def __post_init__(self) -> None:
        for name, largest in TEXT_SIZES.items():
            value = getattr(self, name)
            if value is not None:
                require_size(value, largest, f"text {name}")
        for name in ("rms_norm_eps", "rope_theta"):
            require(getattr(self, name) > 0, f"text {name} must be positive, got {getattr(self, name)}")
        require(
            self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}",
        )
        require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            f"num_attention_heads {self.num_attention_heads} is not a multiple of "
            f"num_key_value_heads {self.num_key_value_heads}",
        )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


# What LlamaConfig means by an entry that is not there.
LLAMA_DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
}
ROPE_THETA_DEFAULT = 10000.0


def read_text_config(data: dict[str, Any], where: Path) -> TextConfig:
    """The decoder of a published model, from the `text_config` of the config.json `where`; its vocabulary size is left
    open. Raises ConfigError for what is no Llama, or asks for more of one than is known here."""
    kind = data.get("model_type", "llama")
    if kind != "llama":
        raise ConfigError(f"{where}: text_config.model_type {shown(kind)} is not 'llama'")
    for name, allowed in (
        ("hidden_act", "silu"),
        ("attention_bias", False),
        ("mlp_bias", False),
        ("tie_word_embeddings", False),
    ):
        if data.get(name, allowed) != allowed:
            raise ConfigError(f"{where}: text_config.{name} is {shown(data[name])}; only {allowed!r} is supported")
    values = {name: data.get(name, default) for name, default in LLAMA_DEFAULTS.items()}
    integers = {n: checked_integer(v, f"text_config.{n}", where) for n, v in values.items() if n != "rms_norm_eps"}
    heads = integers["num_attention_heads"]
    config = TextConfig(
        hidden_size=integers["hidden_size"],
        intermediate_size=integers["intermediate_size"],
        num_hidden_layers=integers["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=checked_integer(
            data.get("num_key_value_heads") or heads, "text_config.num_key_value_heads", where
        ),
        # Left to the embedding table: which size was published is not documented, and the table is what there is.
        vocab_size=None,
        rms_norm_eps=checked_number(values["rms_norm_eps"], "text_config.rms_norm_eps", where),
        rope_theta=_rope_theta(data, where),
        max_position_embeddings=integers["max_position_embeddings"],
    )
    head_dim = data.get("head_dim")
    if head_dim is not None and head_dim != config.head_dim:
        raise ConfigError(f"{where}: text_config.head_dim is {shown(head_dim)}, only hidden_size / heads is supported")
    return config


def _rope_theta(data: dict[str, Any], where: Path) -> float:
    """The base of the rotary embedding, from wherever the transformers of the day wrote it."""
    said: dict[str, Any] = {"text_config.rope_theta": data.get("rope_theta")}
    for name in ("rope_scaling", "rope_parameters"):
        rope = data.get(name)
        if rope is None:
            continue
        # Without a scaling, some versions write none, others one that does nothing.
        if not isinstance(rope, dict) or rope.get("rope_type", rope.get("type", "default")) != "default":
            raise ConfigError(f"{where}: text_config.{name} {shown(rope)} is not of the default type")
        if {key for key, value in rope.items() if value is not None} - {"rope_type", "type", "rope_theta"}:
            raise ConfigError(f"{where}: text_config.{name} {shown(rope)} scales; only its default type is known")
        said[f"text_config.{name}.rope_theta"] = rope.get("rope_theta")
    given = {name: checked_number(value, name, where) for name, value in said.items() if value is not None}
    if len(set(given.values())) > 1:
        raise ConfigError(f"{where}: {' and '.join(f'{name} {value:g}' for name, value in given.items())} disagree")
    return next(iter(given.values()), ROPE_THETA_DEFAULT)
