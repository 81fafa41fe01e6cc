"""The files of a published OpenVLA repository (openvla/openvla-7b on Hugging Face, and what is finetuned from it).

Read are `config.json`, `preprocessor_config.json`, `tokenizer.json` and, where there is one, `dataset_statistics.json`;
none of the repository's Python code. Unknown entries are passed over, since the files belong to somebody else; what is
read is checked, and files that contradict each other are refused.

Meaning of the entries and of those left out: `PrismaticConfig` and `OpenVLAConfig` of github.com/openvla/openvla
(`prismatic/extern/hf/configuration_prismatic.py`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from magma_contracts.errors import ConfigError
from magma_contracts.files.typed_tables import naming
from magma_policy.embodiments import action_normalization
from magma_policy.embodiments.action_normalization import ActionStatistics
from magma_policy.errors import CheckpointError, shown
from magma_policy.families.openvla.config import (
    Kind,
    OpenVLAConfig,
    PromptForm,
    TowerConfig,
    dinov2_large,
    siglip_so400m,
)
from magma_policy.families.openvla.images import ImageRules, read_image_rules
from magma_policy.families.openvla.tokenizer import OpenVLATokenizer
from magma_policy.families.openvla.vision import TOWER_NAMES
from magma_policy.files.json_dataclasses import to_dict
from magma_policy.files.json_files import read_object
from magma_policy.files.json_values import checked_integer, checked_name, read_flag, read_section
from magma_policy.files.weight_check import require_finite
from magma_policy.files.weight_files import count_layers, write_shards
from magma_policy.inference.action_tokens import NUM_BINS
from magma_policy.inference.llama_config import read_text_config

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
TOKENIZER = "tokenizer.json"
DATASET_STATISTICS = "dataset_statistics.json"
EMBEDDING = "language_model.model.embed_tokens.weight"

NAMED: Mapping[Kind, TowerConfig] = {"dinov2": dinov2_large(224), "siglip": siglip_so400m(224)}
BACKBONES: Mapping[str, tuple[tuple[Kind, int], ...]] = {
    "dinosiglip-vit-so-224px": (("dinov2", 224), ("siglip", 224)),
    "dinosiglip-vit-so-384px": (("dinov2", 384), ("siglip", 384)),
    "siglip-vit-so400m": (("siglip", 224),),
    "siglip-vit-so400m-384px": (("siglip", 384),),
    "dinov2-vit-l": (("dinov2", 224),),
}
"""Towers and the side of their images by the names that `vision_backbone_id` may have."""
BACKBONE_DEFAULT = "siglip-vit-so400m"

PROMPTS: Mapping[str, PromptForm] = {
    "llama2-7b-pure": "pure",
    "llama2-13b-pure": "pure",
    "vicuna-v15-7b": "vicuna",
    "vicuna-v15-13b": "vicuna",
}
"""Form of the prompts by the names that `llm_backbone_id` may have."""
LANGUAGE_MODEL_DEFAULT = "vicuna-v15-7b"
PADDING_DEFAULT = 64
"""Rows that were added to the vocabulary, `pad_to_multiple_of`."""

HEAD_WIDTH = 64
"""Of timm's vision transformers but SO400M, whose 16 heads have 72."""


@dataclass(frozen=True)
class Published:
    """What the JSON files say."""

    config: OpenVLAConfig
    tokenizer: OpenVLATokenizer
    images: ImageRules


def read(directory: Path, shapes: Mapping[str, tuple[int, ...]]) -> Published:
    """Read the JSON files of `directory`; `shapes` are those of the tensors in its shards.

    Raises ConfigError that names the file and the entry, CheckpointError when the tensors are not OpenVLA's.
    """
    where = directory / CONFIG
    data = read_object(where)
    with naming(where):
        bins = data.get("n_action_bins", NUM_BINS)
        if bins != NUM_BINS:
            raise ConfigError(f"{where}: n_action_bins is {shown(bins)}; only {NUM_BINS} are known")
        towers = _towers(data, shapes, where)
        text_data = read_section(data, "text_config", where)
        rows = checked_integer(text_data.get("vocab_size"), "text_config.vocab_size", where)
        base = rows - checked_integer(data.get("pad_to_multiple_of", PADDING_DEFAULT), "pad_to_multiple_of", where)
        config = OpenVLAConfig(
            name=checked_name(data, directory, "openvla"),
            towers=towers,
            text=dataclasses.replace(read_text_config(text_data, where), vocab_size=rows),
            base_vocab_size=base,
            prompt=_prompt_form(data, where),
        )
    tokenizer = OpenVLATokenizer.load(directory / TOKENIZER)
    if tokenizer.base_vocab_size != base:
        raise ConfigError(
            f"{where}: text_config.vocab_size {rows} less pad_to_multiple_of {rows - base} makes a vocabulary of "
            f"{base}, whose last {NUM_BINS} ids are actions, but {TOKENIZER} has {tokenizer.base_vocab_size} entries"
        )
    if tokenizer.highest_id >= rows:
        raise ConfigError(f"{directory / TOKENIZER}: knows the id {tokenizer.highest_id}, {CONFIG} says {rows} rows")
    sides = tuple(tower.image_size for tower in towers)
    return Published(config, tokenizer, read_image_rules(directory / PREPROCESSOR, sides))


def statistics_file(directory: Path) -> Path:
    """Where a checkpoint's action statistics are: a finetuned one's own, else those of config.json. Raises ConfigError
    when it has none."""
    if (directory / DATASET_STATISTICS).is_file():
        return directory / DATASET_STATISTICS
    where = directory / CONFIG
    if not isinstance(read_object(where).get("norm_stats"), dict):
        raise ConfigError(
            f"{where}: has no norm_stats, and there is no {DATASET_STATISTICS} beside it; without action statistics an "
            "action has no physical meaning: give the file that was written in training (--statistics)"
        )
    return where


def _name(data: dict[str, Any], name: str, default: str, known: Mapping[str, Any], where: Path) -> str:
    value = data.get(name, default)
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{where}: {name} {shown(value)} is none of {sorted(known)}")
    return value


def _prompt_form(data: dict[str, Any], where: Path) -> PromptForm:
    return PROMPTS[_name(data, "llm_backbone_id", LANGUAGE_MODEL_DEFAULT, PROMPTS, where)]


def _towers(data: dict[str, Any], shapes: Mapping[str, tuple[int, ...]], where: Path) -> tuple[TowerConfig, ...]:
    named = BACKBONES[_name(data, "vision_backbone_id", BACKBONE_DEFAULT, BACKBONES, where)]
    if read_flag(data, "use_fused_vision_backbone", len(named) == 2, where) != (len(named) == 2):
        raise ConfigError(
            f"{where}: use_fused_vision_backbone contradicts the {len(named)} tower(s) of vision_backbone_id"
        )
    activations = data.get("timm_override_act_layers")
    if activations is not None and activations != [None] * len(named):
        raise ConfigError(f"{where}: timm_override_act_layers is {shown(activations)}; only the exact GELU is known")
    sides = data.get("image_sizes")
    sides = [side for _, side in named] if sides is None else sides
    if not isinstance(sides, list) or len(sides) != len(named):
        raise ConfigError(f"{where}: image_sizes must have {len(named)} entries, one per tower, got {shown(sides)}")
    return tuple(
        _tower(prefix, kind, checked_integer(side, "image_sizes", where), shapes, where)
        for prefix, (kind, _), side in zip(TOWER_NAMES, named, sides, strict=False)
    )


def _tower(prefix: str, kind: Kind, side: int, shapes: Mapping[str, tuple[int, ...]], where: Path) -> TowerConfig:
    """The tower that the name means; measured from its tensors when those are of another width, as for a small
    relative."""

    def shape(name: str, length: int) -> tuple[int, ...]:
        found = shapes.get(prefix + name)
        if found is None or len(found) != length:
            raise CheckpointError(
                f"{where.parent}: {prefix}{name} of OpenVLA's vision tower is {found} instead of {length} sizes among "
                f"its {len(shapes)} tensors; are these OpenVLA's weights, under their published names?"
            )
        return found

    width, _, patch, _ = shape("patch_embed.proj.weight", 4)
    named = dataclasses.replace(NAMED[kind], image_size=side)
    if width == named.width:
        return named
    if width % HEAD_WIDTH:
        raise ConfigError(
            f"a vision tower {width} wide is no relative of {kind}'s, whose attention heads are {HEAD_WIDTH} wide"
        )
    return TowerConfig(
        kind,
        width=width,
        depth=count_layers(shapes, f"{prefix}blocks."),
        heads=width // HEAD_WIDTH,
        mlp_width=shape("blocks.0.mlp.fc1.weight", 2)[0],
        patch=patch,
        image_size=side,
        registers=shape("reg_token", 3)[1] if kind == "dinov2" else 0,
    )


def write(
    directory: Path,
    state: Mapping[str, Tensor],
    config: OpenVLAConfig,
    tokenizer: OpenVLATokenizer,
    statistics: Mapping[str, ActionStatistics],
    dtype: torch.dtype = torch.bfloat16,
    shard_bytes: int = 5_000_000_000,
) -> None:
    """Write a model in the published layout; `state` has all published tensors, the unused ones too.

    For tests, conversions and trying a robot out. CheckpointError, and nothing is written, for weights that are not
    finite in `dtype`.
    """
    require_finite(state, dtype, directory)
    directory.mkdir(parents=True, exist_ok=True)
    text, sides = config.text, [tower.image_size for tower in config.towers]
    fused = len(sides) == 2
    kinds = tuple(tower.kind for tower in config.towers)
    backbone = next(name for name, towers in BACKBONES.items() if tuple(kind for kind, _ in towers) == kinds)
    imagenet, half = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.5] * 3, [0.5] * 3)
    colours = [imagenet if tower.kind == "dinov2" else half for tower in config.towers]
    files: dict[str, dict[str, Any]] = {
        CONFIG: {
            "_name_or_path": config.name,
            "architectures": ["OpenVLAForActionPrediction"],
            "model_type": "openvla",
            "image_resize_strategy": "resize-naive",
            "image_sizes": sides,
            "llm_backbone_id": next(name for name, form in PROMPTS.items() if form == config.prompt),
            "n_action_bins": NUM_BINS,
            "norm_stats": {key: {"action": to_dict(value)} for key, value in statistics.items()},
            "pad_to_multiple_of": (text.vocab_size or 0) - config.base_vocab_size,
            "use_fused_vision_backbone": fused,
            "vision_backbone_id": backbone,
            "text_config": {"model_type": "llama", **to_dict(text)},
        },
        PREPROCESSOR: {
            "image_processor_type": "PrismaticImageProcessor",
            "image_resize_strategy": "resize-naive",
            "input_sizes": [[3, side, side] for side in sides],
            "interpolations": ["bicubic"] * len(sides),
            "means": [mean for mean, _ in colours],
            "stds": [std for _, std in colours],
            "use_fused_vision_backbone": fused,
        },
    }
    for name, data in files.items():
        (directory / name).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    tokenizer.tokenizer.save(str(directory / TOKENIZER))
    write_shards(directory, {name: t.detach().to("cpu", dtype) for name, t in state.items()}, shard_bytes)


def statistics_keys(path: Path) -> list[str]:
    """The data sets whose statistics a file has. Raises ConfigError."""
    found = action_normalization.load(path)
    return sorted(key for key, value in found.items() if isinstance(value, ActionStatistics))
