"""The files of a published Magma repository (microsoft/Magma-8B on Hugging Face) as they stand there.

Read are `config.json`, `preprocessor_config.json`, `tokenizer.json`, `tokenizer_config.json` and
`generation_config.json`; none of the repository's Python code. The JSON files belong to somebody else and carry dozens
of entries that say nothing about inference, so unknown ones are passed over; but whatever is read is checked, and files
that contradict each other, or ask for something that is not implemented here, are refused.

Meaning of the entries: the classes MagmaConfig, MagmaImageProcessor and MagmaForCausalLM of github.com/microsoft/Magma,
and transformers' LlamaConfig, whose defaults hold for what `text_config` leaves out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from magma_contracts.errors import ConfigError
from magma_contracts.files.typed_tables import naming
from magma_policy.errors import CheckpointError, shown
from magma_policy.families.magma.config import ImageConfig, MagmaConfig, TokenConfig, VisionConfig
from magma_policy.families.magma.published_tokenizer import check_vocabulary_entry, read_published_tokenizer
from magma_policy.families.magma.tokenizer import MagmaTokenizer
from magma_policy.files.json_files import read_object, read_optional_object
from magma_policy.files.json_values import checked_integer, checked_name, checked_number, read_flag, read_section
from magma_policy.files.weight_check import require_finite
from magma_policy.files.weight_files import write_shards
from magma_policy.inference.llama_config import read_text_config

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
GENERATION_CONFIG = "generation_config.json"

TOWER = "vision_tower.clip_vision_model.trunk."

# open_clip's towers by the names that `vision_config.vision_backbone` may have: depths, dims, LayerNorm eps (timm's
# `convnext_xxlarge` sets 1e-5, `convnext_large` keeps ConvNeXt's 1e-6).
BACKBONES = {
    "convnextxxlarge": VisionConfig(depths=(3, 4, 30, 3), dims=(384, 768, 1536, 3072), layer_norm_eps=1e-5),
    "convnextlarge": VisionConfig(depths=(3, 3, 27, 3), dims=(192, 384, 768, 1536), layer_norm_eps=1e-6),
}


@dataclass(frozen=True)
class Published:
    """What the JSON files say; `stop_ids` end a generated text."""

    config: MagmaConfig
    tokenizer: MagmaTokenizer
    stop_ids: tuple[int, ...]


def is_published(config_file: Path) -> bool:
    """Whether a `config.json` is one of MagmaForCausalLM's rather than of this package."""
    data = read_object(config_file)
    architectures = data.get("architectures")
    return data.get("model_type") == "magma" or (
        isinstance(architectures, list) and "MagmaForCausalLM" in architectures
    )


def read(directory: Path, shapes: Mapping[str, tuple[int, ...]]) -> Published:
    """Read the JSON files of `directory`; `shapes` are those of the tensors in its shards.

    Raises ConfigError that names the file and the entry, CheckpointError when the tensors are not Magma's.
    """
    with naming(directory / CONFIG):
        return _published(directory, shapes)


def _published(directory: Path, shapes: Mapping[str, tuple[int, ...]]) -> Published:
    where = directory / CONFIG
    data = read_object(where)
    vision_data = read_section(data, "vision_config", where)
    text_data = read_section(data, "text_config", where)
    image = _image(directory, data, vision_data)
    text = read_text_config(text_data, where)
    vision = _vision(vision_data, shapes, where)
    for name, found, needed in (
        ("vision_config.mm_hidden_size", vision_data.get("mm_hidden_size"), vision.dims[-1]),
        ("vision_config.hidden_size", vision_data.get("hidden_size"), text.hidden_size),
    ):
        if found is not None and found != needed:
            raise ConfigError(f"{where}: {name} is {shown(found)}, but the other entries make it {needed}")
    tokenizer = read_published_tokenizer(directory / TOKENIZER, directory / TOKENIZER_CONFIG)
    tokens = tokenizer.tokens
    if data.get("image_token_index") != tokens.image:
        raise ConfigError(
            f"{where}: image_token_index is {shown(data.get('image_token_index'))}, but <image> has id {tokens.image} "
            f"in {TOKENIZER}"
        )
    check_vocabulary_entry(data.get("tokenizer_vocab_size"), tokens, text_data.get("vocab_size"), where, TOKENIZER)
    stop_ids = _stop_ids(directory, tokens)
    config = MagmaConfig(
        name=checked_name(data, directory, "magma"),
        vision=vision,
        image=image,
        text=text,
        tokens=tokens,
        image_markers=read_flag(data, "mm_use_image_start_end", True, where),
    )
    return Published(config, tokenizer, stop_ids)


def _vision(data: dict[str, Any], shapes: Mapping[str, tuple[int, ...]], where: Path) -> VisionConfig:
    """Geometry of the tower by its name; read from the tensors when those are of another width.

    The names stand for two sizes only. A tower of another width is a smaller or larger relative, whose depths and
    widths its tensors tell; a tower of the named width has to have all that the name promises.
    """
    backbone = data.get("vision_backbone", "convnextxxlarge")
    if not isinstance(backbone, str) or backbone not in BACKBONES:
        raise ConfigError(
            f"{where}: vision_config.vision_backbone {shown(backbone)} is unknown; known are {sorted(BACKBONES)}"
        )
    layer = data.get("vision_feature_layer", "clip_vis_dense")
    if layer != "clip_vis_dense":
        raise ConfigError(f"{where}: vision_config.vision_feature_layer {shown(layer)} is not 'clip_vis_dense'")
    projector = data.get("mm_projector_type", "mlp2x_gelu")
    if projector != "mlp2x_gelu":
        raise ConfigError(f"{where}: vision_config.mm_projector_type {shown(projector)} is not 'mlp2x_gelu'")
    if read_flag(data, "mm_use_im_start_end", False, where):
        raise ConfigError(f"{where}: vision_config.mm_use_im_start_end (learned separators) is not supported")
    named = BACKBONES[backbone]
    stem = shapes.get(TOWER + "stem.0.bias")
    if stem is None:
        raise CheckpointError(
            f"{where.parent}: none of its {len(shapes)} tensors, such as {shown(next(iter(shapes), 'none'))}, is the "
            f"{TOWER}stem.0.bias of Magma's vision tower; are these Magma's weights, under their published names?"
        )
    if stem == (named.dims[0],):
        return named
    return VisionConfig(*_geometry(shapes), layer_norm_eps=named.layer_norm_eps)


def _geometry(shapes: Mapping[str, tuple[int, ...]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Depths and dims of a tower from the shapes of its layer scales."""
    blocks: dict[int, dict[int, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        match = re.fullmatch(re.escape(TOWER) + r"stages\.(\d+)\.blocks\.(\d+)\.gamma", name)
        if match:
            blocks.setdefault(int(match[1]), {})[int(match[2])] = shape
    if sorted(blocks) != list(range(len(blocks))) or not blocks:
        raise ConfigError(f"the vision tower's tensors name the stages {sorted(blocks)}; there must be 0, 1, 2, ...")
    for stage, found in blocks.items():
        if sorted(found) != list(range(len(found))) or len(set(found.values())) != 1:
            raise ConfigError(f"stage {stage} of the vision tower has blocks {sorted(found)} of shapes {found}")
    depths = tuple(len(blocks[stage]) for stage in sorted(blocks))
    return depths, tuple(blocks[stage][0][0] for stage in sorted(blocks))


def _image(directory: Path, data: dict[str, Any], vision_data: dict[str, Any]) -> ImageConfig:
    """The processor's file says how images are cut, as in the original; config.json when there is no such file."""
    where = directory / CONFIG
    strategy = vision_data.get("img_anyres_strategy", "crop")
    if strategy != "crop":
        raise ConfigError(f"{where}: vision_config.img_anyres_strategy {shown(strategy)} is not 'crop'")
    path = directory / PREPROCESSOR
    found = read_optional_object(path)
    if not found:
        side = vision_data.get("img_size", data.get("img_size"))
        return ImageConfig(
            base_size=checked_integer(side, "vision_config.img_size", where),
            max_num_crops=checked_integer(vision_data.get("max_num_crops"), "vision_config.max_num_crops", where),
        )
    if found.get("anyres_strategy", "crop") != "crop":
        raise ConfigError(f"{path}: anyres_strategy {shown(found['anyres_strategy'])} is not 'crop'")
    channels = {}
    for name, default in (("image_mean", ImageConfig.mean), ("image_std", ImageConfig.std)):
        values = found.get(name, default)
        if not isinstance(values, (list, tuple)) or len(values) != 3:
            raise ConfigError(f"{path}: {name} must have three numbers, got {shown(values)}")
        channels[name] = tuple(checked_number(v, name, path) for v in values)
    mean, std = channels["image_mean"], channels["image_std"]
    return ImageConfig(
        base_size=checked_integer(found.get("base_img_size"), "base_img_size", path),
        max_num_crops=checked_integer(found.get("num_crops"), "num_crops", path),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
    )


def _stop_ids(directory: Path, tokens: TokenConfig) -> tuple[int, ...]:
    path = directory / GENERATION_CONFIG
    found = read_optional_object(path)
    stops = found.get("eos_token_id")
    # Null is how tools write that nothing is said.
    stops = tokens.end_of_turn if stops is None else stops
    ids = stops if isinstance(stops, list) else [stops]
    if not ids or any(not isinstance(i, int) or isinstance(i, bool) or i < 0 for i in ids):
        raise ConfigError(f"{path}: eos_token_id must be an id or a list of ids, got {shown(stops)}")
    # Padding is not seen, so the stop id may stand for it too: many tools pad with that.
    for name, expected in (("bos_token_id", [tokens.begin_of_text]), ("pad_token_id", [tokens.pad, *ids])):
        if found.get(name) not in (None, *expected):
            raise ConfigError(f"{path}: {name} is {shown(found[name])}, but {TOKENIZER} makes it {expected[0]}")
    return tuple(ids)


def write(
    directory: Path,
    state: Mapping[str, Tensor],
    config: MagmaConfig,
    tokenizer: MagmaTokenizer,
    dtype: torch.dtype = torch.bfloat16,
    shard_bytes: int = 5_000_000_000,
) -> None:
    """Write a model in the published layout: shards with an index, and the JSON files that `read` reads.

    For tests, conversions and trying a robot out; the additions of this project have no place in that layout, so
    ConfigError is raised for a model that has some. CheckpointError, and nothing is written, for weights that are not
    finite in `dtype`.
    """
    if config.grounding is not None or config.state is not None:
        raise ConfigError(f"{config.name} has modules that the published layout does not know")
    require_finite(state, dtype, directory)
    directory.mkdir(parents=True, exist_ok=True)
    tokens, text = config.tokens, config.text
    rows = state["language_model.model.embed_tokens.weight"].shape[0]
    backbone = next((name for name, known in BACKBONES.items() if known == config.vision), "convnextxxlarge")
    files: dict[str, dict[str, Any]] = {
        CONFIG: {
            "_name_or_path": config.name,
            "architectures": ["MagmaForCausalLM"],
            "model_type": "magma",
            "image_token_index": tokens.image,
            "img_size": config.image.base_size,
            "mm_use_image_start_end": config.image_markers,
            "tokenizer_vocab_size": tokens.base_vocab_size,
            "vision_config": {
                "img_anyres_strategy": "crop",
                "img_size": config.image.base_size,
                "max_num_crops": config.image.max_num_crops,
                "mm_hidden_size": config.vision.dims[-1],
                "mm_projector_type": "mlp2x_gelu",
                "mm_use_im_start_end": False,
                "vision_backbone": backbone,
                "vision_feature_layer": "clip_vis_dense",
            },
            "text_config": {
                "model_type": "llama",
                "vocab_size": rows,
                "hidden_size": text.hidden_size,
                "intermediate_size": text.intermediate_size,
                "num_hidden_layers": text.num_hidden_layers,
                "num_attention_heads": text.num_attention_heads,
                "num_key_value_heads": text.num_key_value_heads,
                "rms_norm_eps": text.rms_norm_eps,
                "rope_theta": text.rope_theta,
                "max_position_embeddings": text.max_position_embeddings,
                "hidden_act": "silu",
                "tie_word_embeddings": False,
            },
        },
        PREPROCESSOR: {
            "anyres_strategy": "crop",
            "base_img_size": config.image.base_size,
            "num_crops": config.image.max_num_crops,
            "do_convert_rgb": True,
            "image_mean": list(config.image.mean),
            "image_std": list(config.image.std),
        },
        GENERATION_CONFIG: {
            "bos_token_id": tokens.begin_of_text,
            "eos_token_id": tokens.end_of_turn,
            "pad_token_id": tokens.pad,
        },
    }
    for name, data in files.items():
        (directory / name).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    tokenizer.save(directory / TOKENIZER)
    write_shards(directory, {name: t.detach().to("cpu", dtype) for name, t in state.items()}, shard_bytes)
