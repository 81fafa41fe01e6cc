"""KOSMOS-2's network: transformers' class, built from a checked configuration and filled name by name.

Two faults of the class are met here, so that nobody else needs to know of them: with transformers 4.52 to 5.22 the
resampler looks at its picture causally under SDPA (`is_causal`), and the name of the cache's argument changed in 5.x.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import DynamicCache, Kosmos2Config, Kosmos2ForConditionalGeneration
from transformers.models.kosmos2.modeling_kosmos2 import Kosmos2TextForCausalLM

from magma_contracts.errors import ConfigError
from magma_policy.errors import CheckpointError, shown
from magma_policy.families.kosmos2.locations import BINS
from magma_policy.families.kosmos2.vocabulary import Vocabulary
from magma_policy.files.json_files import read_object
from magma_policy.files.weight_check import WeightCheck, require_finite
from magma_policy.files.weight_files import (
    WEIGHTS,
    count_layers,
    map_tensors,
    read_shapes,
    refuse_mismatch,
    refuse_other_depths,
    refuse_other_folders,
    shards,
)
from magma_policy.files.whole_files import whole_folder

MODEL_TYPE = "kosmos-2"
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
HEAD = "text_model.lm_head.weight"
EMBEDDING = "text_model.model.embed_tokens.weight"
BETWEEN_CELLS, NAMES_WEIGHED = "between_cells", "names_weighed"
"""In config.json: entries of this project's own, which the library keeps and does not read."""
MOST_POSITIONS = 16_384
"""The table of positions is computed, so no file bounds it; the published model has 2048."""
MOST_NAMES = 64
"""Each is asked for in a batch."""
LAYERS = {"text_layers": "text_model.model.layers.", "vision_layers": "vision_model.model.encoder.layers."}
"""What the names of the layers' tensors begin with."""

_CACHE = "cache" if "cache" in inspect.signature(Kosmos2TextForCausalLM.forward).parameters else "past_key_values"


@dataclass(frozen=True)
class Geometry:
    """The sizes that a configuration must give; all else of config.json is the class's own defaults or harmless."""

    image_side: int
    patch: int
    vision_width: int
    vision_inner: int
    vision_layers: int
    vision_heads: int
    text_width: int
    text_inner: int
    text_layers: int
    text_heads: int
    vocabulary: int
    positions: int
    latents: int
    bins: int = BINS
    between_cells: bool = False
    """Whether it learned places from soft labels: a corner is then where the cells' probabilities are centred, and not
    in the middle of the likeliest one, which the published model names."""
    names_weighed: int = 1
    """How many names of a place are compared by how well the model finds the place again by each; 1: the likeliest is
    taken as it is."""

    def __post_init__(self) -> None:
        if not isinstance(self.between_cells, bool):
            raise ConfigError(f"{BETWEEN_CELLS} must be true or false, got {shown(self.between_cells)}")
        for name, value in vars(self).items():
            if name == BETWEEN_CELLS:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
                raise ConfigError(f"{name} must be a whole number from 1 to 1,000,000, got {shown(value)}")
        for width, heads, what in (
            (self.vision_width, self.vision_heads, "vision"),
            (self.text_width, self.text_heads, "text"),
        ):
            if width % heads:
                raise ConfigError(f"{what} width {width} cannot be shared by {heads} heads")
        if self.names_weighed > MOST_NAMES:
            raise ConfigError(f"{NAMES_WEIGHED} is {self.names_weighed}; at most {MOST_NAMES} names are weighed")
        if self.image_side % self.patch:
            raise ConfigError(f"pictures of {self.image_side} pixels cannot be cut into patches of {self.patch}")
        if self.positions > MOST_POSITIONS:
            raise ConfigError(
                f"{self.positions} positions are more than {MOST_POSITIONS}, and their table is no file's"
            )
        if self.latents + 8 > self.positions:
            raise ConfigError(f"{self.positions} positions leave no room beside {self.latents} features of a picture")

    def config(self) -> Kosmos2Config:
        """transformers' configuration of this model."""
        return Kosmos2Config(
            text_config={
                "vocab_size": self.vocabulary,
                "max_position_embeddings": self.positions,
                "embed_dim": self.text_width,
                "layers": self.text_layers,
                "ffn_dim": self.text_inner,
                "attention_heads": self.text_heads,
                # Of training only; a model of this size that sees every scene a few times needs none.
                "dropout": 0.0,
                "attention_dropout": 0.0,
            },
            vision_config={
                "hidden_size": self.vision_width,
                "intermediate_size": self.vision_inner,
                "num_hidden_layers": self.vision_layers,
                "num_attention_heads": self.vision_heads,
                "image_size": self.image_side,
                "patch_size": self.patch,
            },
            latent_query_num=self.latents,
            **({BETWEEN_CELLS: True} if self.between_cells else {}),
            **({NAMES_WEIGHED: self.names_weighed} if self.names_weighed > 1 else {}),
        )

    @classmethod
    def read(cls, path: Path) -> Geometry:
        """Of a config.json, whose missing fields have the published model's values. Raises ConfigError."""
        found = read_object(path)
        if found.get("model_type") != MODEL_TYPE:
            raise ConfigError(f"{path}: model_type is {shown(found.get('model_type'))}, not {MODEL_TYPE!r}")
        if "auto_map" in found:
            raise ConfigError(
                f"{path}: asks for code of its own (auto_map), which is never run; take microsoft/kosmos-2-patch14-224"
            )
        text, vision = (_section(found, name, path) for name in ("text_config", "vision_config"))
        for section, name, only in (
            (text, "activation_function", "gelu"),
            (text, "scale_embedding", True),
            (vision, "hidden_act", "quick_gelu"),
            (vision, "num_channels", 3),
            (found, "tie_word_embeddings", True),
        ):
            if section.get(name, only) != only:
                raise ConfigError(f"{path}: {name} is {shown(section[name])}; only {only!r} is known for KOSMOS-2")
        try:
            return cls(
                image_side=vision.get("image_size", 224),
                patch=vision.get("patch_size", 14),
                vision_width=vision.get("hidden_size", 1024),
                vision_inner=vision.get("intermediate_size", 4096),
                vision_layers=vision.get("num_hidden_layers", 24),
                vision_heads=vision.get("num_attention_heads", 16),
                text_width=text.get("embed_dim", 2048),
                text_inner=text.get("ffn_dim", 8192),
                text_layers=text.get("layers", 24),
                text_heads=text.get("attention_heads", 32),
                vocabulary=text.get("vocab_size", 65037),
                positions=text.get("max_position_embeddings", 2048),
                latents=found.get("latent_query_num", 64),
                between_cells=found.get(BETWEEN_CELLS, False),
                names_weighed=found.get(NAMES_WEIGHED, 1),
            )
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


def _section(found: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    section = found.get(name) or {}
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: {name} must be an object, got {shown(section)}")
    return section


class Network:
    """The network with what its callers need of it, and nothing of how the library spells it.

    Attributes:
        geometry: its sizes.
        model: the library's module.
    """

    def __init__(self, geometry: Geometry, model: Kosmos2ForConditionalGeneration) -> None:
        self.geometry, self.model = geometry, model
        # Features must see the whole picture whichever attention computes them.
        model.image_to_text_projection.x_attn.is_causal = False

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.text_model.model.layer_norm.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.text_model.model.layer_norm.weight.dtype
        return dtype

    def set_dropout(self, fraction: float) -> None:
        """Of the text model and the resampler, while the module is in training mode; a loaded network has none."""
        # The library's blocks keep it as a number each, and none of their other modules has one of this name.
        for part in (self.model.text_model, self.model.image_to_text_projection):
            for module in part.modules():
                if isinstance(getattr(module, "dropout", None), float):
                    module.dropout = fraction

    def features(self, pixels: Tensor) -> Tensor:
        """float (B, 3, side, side) to what stands for the pictures in the text, (B, latents, width)."""
        found: Tensor = self.model.get_image_features(pixels.to(self.device, self.dtype)).pooler_output
        return found

    def patch_features(self, pixels: Tensor) -> Tensor:
        """float (B, 3, side, side) to what the resampler reads, of length 1 each: (B, 1 + patches, vision width)."""
        tower = self.model.vision_model
        seen = tower(pixel_values=pixels.to(self.device, self.dtype)).last_hidden_state
        return nn.functional.normalize(tower.model.post_layernorm(seen), dim=-1)

    def resampled(self, patch_features: Tensor) -> Tensor:
        """`patch_features` to `features`."""
        found: Tensor = self.model.image_to_text_projection(patch_features)[0]
        return found

    def hidden(
        self,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: DynamicCache | None,
        features: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """What the head makes logits of, (B, T, width).

        Args:
            ids: (B, T) int64.
            mask: (B, T + what the cache holds) int64, 0 at pads.
            positions: (B, T) int64; the first token of a row has 2, pads have 1.
            cache: filled by the call; None keeps nothing.
            features: (P, latents, width) of all pictures, in the order of their places.
            places: (B, T) bool, where the features stand.
        """
        found: Tensor = self.model.text_model.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            image_embeds=features,
            image_embeds_position_mask=places,
            use_cache=cache is not None,
            **({_CACHE: cache} if cache is not None else {}),
        ).last_hidden_state
        return found

    def head(self, hidden: Tensor) -> Tensor:
        """(..., width) to logits (..., vocabulary)."""
        logits: Tensor = self.model.text_model.lm_head(hidden)
        return logits

    def logits(
        self,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: DynamicCache | None,
        features: Tensor | None = None,
        places: Tensor | None = None,
        last_only: bool = True,
    ) -> Tensor:
        """Logits behind each id, or behind the last of each row, (B, T or 1, vocabulary) in the model's type; arguments
        as of `hidden`."""
        hidden = self.hidden(ids, mask, positions, cache, features, places)
        return self.head(hidden[:, -1:] if last_only else hidden)


def keys_and_values(cache: DynamicCache) -> tuple[tuple[Tensor, Tensor], ...]:
    """What a cache holds of each layer, (B, heads, T, width of a head) each."""
    if hasattr(cache, "layers"):
        return tuple((layer.keys, layer.values) for layer in cache.layers)
    return tuple(zip(cache.key_cache, cache.value_cache, strict=True))  # transformers before 4.56


def build(geometry: Geometry, attention: str = "sdpa") -> Network:
    """A network with the library's random start, from torch's generator; `attention` is "sdpa" or "eager"."""
    config = geometry.config()
    config._attn_implementation = attention
    return Network(geometry, Kosmos2ForConditionalGeneration(config))


def load(
    directory: Path, device: torch.device, dtype: torch.dtype | None, attention: str = "sdpa"
) -> tuple[Network, Vocabulary]:
    """Loads a checkpoint directory, published or made here; `dtype` None keeps the stored type.

    Every name and shape is compared before anything is loaded, every value looked at on its way.

    Raises:
        CheckpointError: the weights are missing, others, or not finite.
        ConfigError: a JSON file.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such checkpoint directory")
    refuse_other_folders(directory, CONFIG)
    geometry = Geometry.read(directory / CONFIG)
    vocabulary = Vocabulary.load(directory / TOKENIZER, geometry.latents, geometry.bins)
    if vocabulary.size > geometry.vocabulary:
        raise CheckpointError(
            f"{directory}: {TOKENIZER} has {vocabulary.size} tokens, {CONFIG} describes {geometry.vocabulary}"
        )
    files = shards(directory)
    found = read_shapes(files)
    counts = {
        name.replace("_", " "): (getattr(geometry, name), count_layers(found, prefix))
        for name, prefix in LAYERS.items()
    }
    refuse_other_depths(directory, CONFIG, counts)
    config = geometry.config()
    config._attn_implementation = attention
    with torch.device("meta"):
        model = Kosmos2ForConditionalGeneration(config)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if HEAD not in found:
        del expected[HEAD]  # it is the embedding table, which is stored once or twice
    refuse_mismatch(directory, expected, found)
    stored = map_tensors(files)
    if HEAD in stored and not torch.equal(stored[HEAD], stored[EMBEDDING]):
        raise CheckpointError(f"{directory}: {HEAD} differs from {EMBEDDING}, and the two are one table in KOSMOS-2")
    check = WeightCheck()
    moved = {}
    for name, value in stored.items():
        there = value.to(device)
        check.add(name, there, dtype)
        moved[name] = there if dtype is None else there.to(dtype)
    if (problem := check.problem()) is not None:
        raise CheckpointError(f"{directory}: {problem}")
    moved[HEAD] = moved[EMBEDDING]
    model.load_state_dict(moved, strict=True, assign=True)
    model.tie_weights()
    model.requires_grad_(False)
    _compute_buffers(model, device)
    return Network(geometry, model.eval()), vocabulary


def save(directory: Path, network: Network, vocabulary: Vocabulary, dtype: torch.dtype = torch.bfloat16) -> None:
    """Writes a checkpoint directory as `load`, and the library, read it; the weights take their place last.

    Raises:
        CheckpointError: a weight is not finite, or would not be in `dtype`; nothing was written.
    """
    state = {name: value for name, value in network.model.state_dict().items() if name != HEAD}
    require_finite(state, dtype, directory)
    with whole_folder(directory, WEIGHTS) as folder:
        network.model.config.to_json_file(folder / CONFIG)
        vocabulary.tokenizer.save(str(folder / TOKENIZER))
        save_file({n: t.detach().to("cpu", dtype).contiguous() for n, t in state.items()}, str(folder / WEIGHTS))
        (folder / WEIGHTS).chmod(0o644)


def _compute_buffers(model: Kosmos2ForConditionalGeneration, device: torch.device) -> None:
    """What is computed and not stored, and has no values on the meta device."""
    places = model.vision_model.model.embeddings
    places.position_ids = torch.arange(places.num_positions, device=device)[None]
    table = model.text_model.model.embed_positions
    values = table.get_embedding(table.num_positions + table.offset, table.embedding_dim, table.padding_idx)
    table.weights = values.to(device, model.text_model.model.layer_norm.weight.dtype)


def parameters(geometry: Geometry) -> int:
    """How many numbers the model has, the tied table once."""
    with torch.device("meta"):
        model = Kosmos2ForConditionalGeneration(geometry.config())
    return sum(math.prod(value.shape) for name, value in model.state_dict().items() if name != HEAD)
