"""Checkpoint directory: model.safetensors (or shards with an index), config.json, tokenizer.json and the robots that
it can act on (`magma_policy.embodiments`); or the files of a published Magma (`published_files`), with robots or not.

Names and shapes are compared one by one before anything is loaded; a checkpoint that lacks a tensor, has one too many
or one of another shape is refused with the list. There is no partial load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from magma_contracts.errors import ConfigError
from magma_policy.embodiments import robots
from magma_policy.embodiments.robots import Robot
from magma_policy.errors import CheckpointError
from magma_policy.families import registry
from magma_policy.families.identity import IdentityUnderWay, numbered
from magma_policy.families.magma import published_files
from magma_policy.families.magma.config import MagmaConfig
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.tokenizer import MagmaTokenizer
from magma_policy.files.json_dataclasses import load_json, save_json
from magma_policy.files.weight_check import require_finite
from magma_policy.files.weight_files import (
    WEIGHTS,
    count_layers,
    map_tensors,
    read_shapes,
    refuse_mismatch,
    refuse_other_depths,
    refuse_other_folders,
    shards,
    stored_type,
)
from magma_policy.files.whole_files import whole_folder
from magma_policy.inference.weight_loading import fill

CONFIG = published_files.CONFIG
TOKENIZER = published_files.TOKENIZER
MODEL_FILES = (
    CONFIG,
    published_files.PREPROCESSOR,
    TOKENIZER,
    published_files.TOKENIZER_CONFIG,
    published_files.GENERATION_CONFIG,
)
"""All but the weights that decides what a model does, in either layout."""

EMBEDDING = "language_model.model.embed_tokens.weight"

# CLIP's pooled head, which Magma never uses; published shards may or may not carry it.
UNUSED = frozenset(
    f"vision_tower.clip_vision_model.{name}"
    for name in ("trunk.head.norm.weight", "trunk.head.norm.bias", "head.proj.weight")
)


@dataclass(frozen=True)
class Checkpoint:
    """Everything a policy is made of. `robots` by name has the default robot under "" (`robots.DEFAULT`); it is empty
    when the checkpoint does not say what its actions mean."""

    model: Magma
    tokenizer: MagmaTokenizer
    robots: Mapping[str, Robot]
    stop_ids: tuple[int, ...]
    identity: str = ""
    """`magma_policy.families.identity` of the files; "" for what was put together in memory"""


def _with_vocabulary(config: MagmaConfig, shapes: Mapping[str, tuple[int, ...]], directory: Path) -> MagmaConfig:
    """The config, its vocabulary size read from the embedding table when it does not say."""
    if config.text.vocab_size is not None:
        return config
    if EMBEDDING not in shapes or len(shapes[EMBEDDING]) != 2:
        raise CheckpointError(f"{directory}: missing {EMBEDDING}, whose rows give the vocabulary size")
    return dataclasses.replace(config, text=dataclasses.replace(config.text, vocab_size=shapes[EMBEDDING][0]))


def _check_depths(config: MagmaConfig, found: Mapping[str, tuple[int, ...]], directory: Path) -> None:
    blocks = sum(name.startswith(published_files.TOWER + "stages.") and name.endswith(".gamma") for name in found)
    counts = {
        "decoder layers": (config.text.num_hidden_layers, count_layers(found, "language_model.model.layers.")),
        "blocks of the vision tower": (sum(config.vision.depths), blocks),
    }
    refuse_other_depths(directory, CONFIG, counts)


@dataclass(frozen=True)
class Description:
    """All of a checkpoint directory but weights and robots; `dtype` is what its embedding table is stored in."""

    config: MagmaConfig
    tokenizer: MagmaTokenizer
    stop_ids: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]]
    dtype: torch.dtype


def describe(directory: Path) -> Description:
    """Read a checkpoint directory in either layout, but no weights. Raises CheckpointError or ConfigError."""
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such checkpoint directory")
    refuse_other_folders(directory, CONFIG)
    family = registry.family_of(directory)
    if family != "magma":
        raise CheckpointError(f"{directory}: a checkpoint of {family}, and one of Magma is wanted here")
    is_published = published_files.is_published(directory / CONFIG)
    if not is_published:
        config = load_json(MagmaConfig, directory / CONFIG)
        tokenizer = MagmaTokenizer.load(directory / TOKENIZER, config.tokens)
        stop_ids: tuple[int, ...] = (config.tokens.end_of_turn,)
    files = shards(directory)
    shapes = read_shapes(files)
    if is_published:
        found = published_files.read(directory, shapes)
        config, tokenizer, stop_ids = found.config, found.tokenizer, found.stop_ids
    dtype = stored_type(files, EMBEDDING)
    config = _with_vocabulary(config, shapes, directory)
    rows = config.text.vocab_size
    if rows is not None and tokenizer.highest_id >= rows >= config.tokens.total_size:
        raise CheckpointError(
            f"{directory}: {TOKENIZER} knows the id {tokenizer.highest_id}, the embedding table has {rows} rows; "
            "take the tokenizer that belongs to the weights"
        )
    return Description(config, tokenizer, stop_ids, shapes, dtype)


def load_model(
    directory: Path,
    config: MagmaConfig,
    device: torch.device,
    dtype: torch.dtype | None,
    quantization: str | None = None,
    shapes: dict[str, tuple[int, ...]] | None = None,
) -> Magma:
    """Build the model without memory, check every name and shape, then fill it tensor by tensor from the mapped files.

    Values are checked on the way: CheckpointError for one that is not finite, in the file or in the type asked for.
    `shapes` are the files' own when they were read already.
    """
    files = shards(directory)
    found = read_shapes(files) if shapes is None else shapes
    config = _with_vocabulary(config, found, directory)
    rows = config.text.vocab_size
    if rows is not None and rows < config.tokens.total_size:
        raise CheckpointError(f"{directory}: {rows} embedding rows cannot hold {config.tokens.total_size} tokens")
    _check_depths(config, found, directory)
    with torch.device("meta"):
        model = Magma(config)
    used = {name: shape for name, shape in found.items() if name not in UNUSED}
    refuse_mismatch(directory, {n: tuple(t.shape) for n, t in model.state_dict().items()}, used)
    fill(model, map_tensors(files, without=UNUSED), directory, device, dtype, quantization)
    if device.type == "cuda":
        model.vision_tower.to(memory_format=torch.channels_last)
    return model.eval()


def load(
    directory: Path,
    device: torch.device,
    dtype: torch.dtype | None,
    quantization: str | None = None,
    robot: str | Path | None = None,
    statistics: Path | None = None,
    unnorm_key: str | None = None,
) -> Checkpoint:
    """Load a checkpoint directory, this project's or one as microsoft/Magma-8B is published; `dtype` None keeps the
    stored type.

    `robot` is the default robot instead of the checkpoint's own: one of its further robots, one that ships, or a folder
    (`robots.find`); `statistics` is a file in place of its statistics.json, and `unnorm_key` the data set in it whose
    statistics are meant, in place of its specification's `statistics_key`. A checkpoint that was not made for one may
    have no robot, and its policy can then talk but not act. Raises CheckpointError for tensors that do not fit and
    ConfigError for the JSON files.
    """
    directory = Path(directory)
    found = describe(directory)
    published_layout = published_files.is_published(directory / CONFIG)
    # What was made for a robot has modules of its own for it, and must say for which; a plain Magma may only talk.
    made_for_robots = not published_layout and found.config.state is not None
    acts = made_for_robots or robot is not None or (directory / robots.ACTION_SPEC).is_file()
    if not acts and (statistics is not None or unnorm_key is not None):
        given = statistics if statistics is not None else unnorm_key
        raise ConfigError(f"{given}: statistics need an action_spec.json, or the name of a robot, to go with them")
    homes = robots.homes(directory, robot) if acts else {}
    known = _read_robots(homes, found.config, statistics, unnorm_key)
    settings = {"dtype": str(dtype or found.dtype), "quantization": quantization or "none"}
    settings |= {"unnorm_key": unnorm_key} if unnorm_key is not None else {}
    identity = IdentityUnderWay(directory, _parts(directory, homes, statistics), settings)
    model = load_model(directory, found.config, device, dtype, quantization, found.shapes)
    return Checkpoint(model, found.tokenizer, known, found.stop_ids, identity.result())


def _parts(directory: Path, homes: Mapping[str, Path], statistics: Path | None) -> dict[str, Path]:
    """What the identity covers, by name: the checkpoint's files, and of every robot those that are used."""
    parts = {name: directory / name for name in MODEL_FILES} | numbered(shards(directory))
    for robot, home in homes.items():
        own = {name: home / name for name in (robots.ACTION_SPEC, robots.STATISTICS, robots.CAMERA)}
        if statistics is not None and not robot:
            own[robots.STATISTICS] = statistics
        parts |= {f"robot {robot}: {name}": path for name, path in own.items()}
    return parts


def _read_robots(
    homes: Mapping[str, Path], config: MagmaConfig, statistics: Path | None, unnorm_key: str | None
) -> dict[str, Robot]:
    """The robots of these folders, each checked against the model."""
    known: dict[str, Robot] = {}
    for name, home in homes.items():
        # What was named is the default robot's.
        one = robots.read(home) if name else robots.read(home, statistics, unnorm_key)
        # A robot's own folder may serve several models.
        known[name] = dataclasses.replace(one, spec=dataclasses.replace(one.spec, policy=config.name))
        known[name].check_fits(config, str(home))
    return known


def save(
    directory: Path,
    state: dict[str, Tensor],
    config: MagmaConfig,
    tokenizer: MagmaTokenizer,
    known: Mapping[str, Robot],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a checkpoint directory; `state` is a Magma state dict, `known` the robots as in `Checkpoint.robots`.

    The files take their places when all are written, the weights last, so that neither an interrupted save nor a full
    disk leaves a directory that loads with half of it.

    Raises:
        CheckpointError: a weight is not finite, or would not be in `dtype`; nothing was written.
        OSError, SafetensorError: it cannot be written.
    """
    require_finite(state, dtype, directory)
    with whole_folder(directory, WEIGHTS) as folder:
        save_json(config, folder / CONFIG)
        for name, robot in known.items():
            robots.write(robot, folder / robots.FOLDER / name if name else folder)
        tokenizer.save(folder / TOKENIZER)
        tensors = {n: t.detach().to("cpu", dtype).contiguous() for n, t in state.items()}
        save_file(tensors, str(folder / WEIGHTS))
        # The library creates its file for the owner alone; a checkpoint is for everyone who may read the directory.
        (folder / WEIGHTS).chmod(0o644)
