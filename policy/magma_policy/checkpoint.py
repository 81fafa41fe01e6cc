"""Checkpoint directory: model.safetensors (or shards with an index), config.json, tokenizer.json, statistics.json,
action_spec.json.

Names and shapes are compared one by one before anything is loaded; a checkpoint that lacks a tensor, has one too many
or one of another shape is refused with the list. There is no partial load.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from magma_policy import statistics as action_statistics
from magma_policy.config import ActionSpec, ConfigError, MagmaConfig, load_json, save_json
from magma_policy.model import Magma
from magma_policy.statistics import ActionStatistics
from magma_policy.tokenizer import MagmaTokenizer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
STATISTICS = "statistics.json"
ACTION_SPEC = "action_spec.json"

EMBEDDING = "language_model.model.embed_tokens.weight"
# CLIP's pooled head, which Magma never uses; published shards may or may not carry it.
IGNORED = frozenset(
    f"vision_tower.clip_vision_model.{name}"
    for name in ("trunk.head.norm.weight", "trunk.head.norm.bias", "head.proj.weight")
)


class CheckpointError(RuntimeError):
    """The checkpoint does not fit the model, or a file of it cannot be read."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything a policy is made of."""

    model: Magma
    tokenizer: MagmaTokenizer
    statistics: dict[str, ActionStatistics]
    spec: ActionSpec


def _shards(directory: Path) -> list[Path]:
    index = directory / INDEX
    if not index.is_file():
        return [directory / WEIGHTS]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (json.JSONDecodeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{index}: not a weight index ({error!r})") from error
    return [directory / name for name in names]


def _read_shapes(shards: list[Path]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for shard in shards:
        if not shard.is_file():
            raise CheckpointError(f"{shard}: no such file")
        try:
            with safe_open(str(shard), framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
                    if name in shapes:
                        raise CheckpointError(f"{shard}: tensor {name} occurs in two shards")
                    shapes[name] = tuple(file.get_slice(name).get_shape())
        except SafetensorError as error:
            raise CheckpointError(f"{shard}: cannot be read ({error})") from error
    return shapes


def _compare(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], directory: Path) -> None:
    missing = sorted(set(expected) - set(found))
    unexpected = sorted(set(found) - set(expected) - IGNORED)
    shaped = sorted(n for n in set(expected) & set(found) if expected[n] != found[n])
    if not (missing or unexpected or shaped):
        return
    lines = [f"{directory}: checkpoint refused, nothing was loaded"]
    lines += [f"  missing: {name} {expected[name]}" for name in missing]
    lines += [f"  unexpected: {name} {found[name]}" for name in unexpected]
    lines += [f"  wrong shape: {name} is {found[name]}, the model needs {expected[name]}" for name in shaped]
    raise CheckpointError("\n".join(lines))


def load_model(directory: Path, config: MagmaConfig, device: torch.device, dtype: torch.dtype | None) -> Magma:
    """Build the model without memory, check every name and shape, then fill it shard by shard."""
    shards = _shards(directory)
    found = _read_shapes(shards)
    if config.text.vocab_size is None:
        if EMBEDDING not in found:
            raise CheckpointError(f"{directory}: missing {EMBEDDING}, whose rows give the vocabulary size")
        text = dataclasses.replace(config.text, vocab_size=found[EMBEDDING][0])
        config = dataclasses.replace(config, text=text)
    rows = config.text.vocab_size
    if rows is not None and rows < config.tokens.total_size:
        raise CheckpointError(f"{directory}: {rows} embedding rows cannot hold {config.tokens.total_size} tokens")
    with torch.device("meta"):
        model = Magma(config)
    _compare({n: tuple(t.shape) for n, t in model.state_dict().items()}, found, directory)
    for shard in shards:
        with safe_open(str(shard), framework="pt", device=str(device)) as file:
            state: dict[str, Tensor] = {}
            for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
                if name not in IGNORED:
                    tensor = file.get_tensor(name)
                    state[name] = tensor.to(dtype) if dtype is not None else tensor
            model.load_state_dict(state, strict=False, assign=True)
    # The library keeps its rotary frequencies outside the state dict; on the meta device they have no values.
    llama = model.language_model.model
    llama.rotary_emb = LlamaRotaryEmbedding(model.language_model.config).to(device)
    return model.eval().requires_grad_(False)


def load(directory: Path, device: torch.device, dtype: torch.dtype | None) -> Checkpoint:
    """Load a checkpoint directory; `dtype` None keeps the stored type.

    Raises CheckpointError for tensors that do not fit and ConfigError for the JSON files.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such checkpoint directory")
    config = load_json(MagmaConfig, directory / CONFIG)
    spec = load_json(ActionSpec, directory / ACTION_SPEC)
    statistics = action_statistics.load(directory / STATISTICS)
    action_statistics.select(statistics, spec.statistics_key)
    if spec.proprioception != config.proprioception:
        raise ConfigError(
            f"{directory}: action_spec says proprioception={spec.proprioception}, config says {config.proprioception}"
        )
    tokenizer = MagmaTokenizer.load(directory / TOKENIZER, config.tokens)
    model = load_model(directory, config, device, dtype)
    return Checkpoint(model, tokenizer, statistics, spec)


def save(
    directory: Path,
    state: dict[str, Tensor],
    config: MagmaConfig,
    tokenizer: MagmaTokenizer,
    statistics: dict[str, ActionStatistics],
    spec: ActionSpec,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a checkpoint directory; `state` is a Magma state dict. The weights are written last and renamed into place,
    so that an interrupted save never leaves a directory that loads with half of the tensors."""
    directory.mkdir(parents=True, exist_ok=True)
    save_json(config, directory / CONFIG)
    save_json(spec, directory / ACTION_SPEC)
    action_statistics.save(statistics, directory / STATISTICS)
    tokenizer.save(directory / TOKENIZER)
    partial = directory / (WEIGHTS + ".partial")
    save_file({n: t.detach().to("cpu", dtype).contiguous() for n, t in state.items()}, str(partial))
    # The library creates its file for the owner alone; a checkpoint is for everyone who may read the directory.
    partial.chmod(0o644)
    partial.replace(directory / WEIGHTS)
