"""Checkpoint directory: model.safetensors (or shards with an index), config.json, tokenizer.json and the robots that
it can act on (`magma_policy.robots`); or the files of a published Magma (`magma_policy.published`), with robots or not.

Names and shapes are compared one by one before anything is loaded; a checkpoint that lacks a tensor, has one too many
or one of another shape is refused with the list. There is no partial load.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from magma_policy import published, robots
from magma_policy.config import ConfigError, MagmaConfig, load_json, save_json
from magma_policy.identity import IdentityUnderWay
from magma_policy.model import Magma
from magma_policy.quantisation import quantise
from magma_policy.robots import Robot
from magma_policy.tokenizer import MagmaTokenizer
from magma_policy.weight_check import WeightCheck

WEIGHTS = "model.safetensors"
INDEX = published.INDEX
CONFIG = published.CONFIG
TOKENIZER = published.TOKENIZER

EMBEDDING = "language_model.model.embed_tokens.weight"
# CLIP's pooled head, which Magma never uses; published shards may or may not carry it.
IGNORED = frozenset(
    f"vision_tower.clip_vision_model.{name}"
    for name in ("trunk.head.norm.weight", "trunk.head.norm.bias", "head.proj.weight")
)

TORCH_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
STORED_TYPES = tuple(TORCH_TYPES)
"""Types that weights may be stored in, as safetensors calls them."""


class CheckpointError(RuntimeError):
    """The checkpoint does not fit the model, or a file of it cannot be read."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything a policy is made of. `robots` by name has the default robot under "" (`robots.DEFAULT`); it is empty
    when the checkpoint does not say what its actions mean."""

    model: Magma
    tokenizer: MagmaTokenizer
    robots: Mapping[str, Robot]
    stop_ids: tuple[int, ...]
    identity: str = ""
    """`magma_policy.identity` of the files; "" for what was put together in memory"""


def shards(directory: Path) -> list[Path]:
    """The weight files of a checkpoint directory. CheckpointError when its index cannot be read."""
    index = directory / INDEX
    if not index.is_file():
        return [directory / WEIGHTS]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index}: not a weight index ({error!r})") from error
    odd = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if odd or not names:
        raise CheckpointError(f"{index}: shards must be file names beside the index, got {odd}")
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
                    part = file.get_slice(name)
                    shapes[name] = tuple(part.get_shape())
                    if part.get_dtype() not in STORED_TYPES:
                        raise CheckpointError(
                            f"{shard}: tensor {name} is stored as {part.get_dtype()}, not as one of {STORED_TYPES}; "
                            "quantised files are not read, give the original weights and a quantization"
                        )
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


def _map_tensors(shards: list[Path]) -> dict[str, Tensor]:
    """Every tensor as a view of its memory-mapped file: nothing is read before it is used."""
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        with safe_open(str(shard), framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
                if name not in IGNORED:
                    tensors[name] = file.get_tensor(name)
    return tensors


def _with_vocabulary(config: MagmaConfig, shapes: Mapping[str, tuple[int, ...]], directory: Path) -> MagmaConfig:
    """The config, its vocabulary size read from the embedding table when it does not say."""
    if config.text.vocab_size is not None:
        return config
    if EMBEDDING not in shapes or len(shapes[EMBEDDING]) != 2:
        raise CheckpointError(f"{directory}: missing {EMBEDDING}, whose rows give the vocabulary size")
    return dataclasses.replace(config, text=dataclasses.replace(config.text, vocab_size=shapes[EMBEDDING][0]))


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
    is_published = published.is_published(directory / CONFIG)
    if not is_published:
        config = load_json(MagmaConfig, directory / CONFIG)
        tokenizer = MagmaTokenizer.load(directory / TOKENIZER, config.tokens)
        stop_ids: tuple[int, ...] = (config.tokens.end_of_turn,)
    files = shards(directory)
    shapes = _read_shapes(files)
    if is_published:
        found = published.read(directory, shapes)
        config, tokenizer, stop_ids = found.config, found.tokenizer, found.stop_ids
    dtype = torch.float32
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            if EMBEDDING in opened.keys():  # noqa: SIM118 - safe_open is not a mapping
                dtype = TORCH_TYPES[opened.get_slice(EMBEDDING).get_dtype()]
    return Description(_with_vocabulary(config, shapes, directory), tokenizer, stop_ids, shapes, dtype)


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
    found = _read_shapes(files) if shapes is None else shapes
    config = _with_vocabulary(config, found, directory)
    rows = config.text.vocab_size
    if rows is not None and rows < config.tokens.total_size:
        raise CheckpointError(f"{directory}: {rows} embedding rows cannot hold {config.tokens.total_size} tokens")
    with torch.device("meta"):
        model = Magma(config)
    _compare({n: tuple(t.shape) for n, t in model.state_dict().items()}, found, directory)
    model.load_state_dict(_map_tensors(files), strict=True, assign=True)
    model.requires_grad_(False)
    check = WeightCheck()
    if quantization is not None:
        quantise(model, quantization, device, dtype or torch.bfloat16, check)
    for path, module in model.named_modules():
        if not getattr(module, "quantised", False):
            for name, parameter in list(module.named_parameters(recurse=False)):
                # To the device first: the bytes that travel are those of the file, and rounding and looking are quicker
                # there.
                moved = parameter.detach().to(device)
                check.add(f"{path}.{name}", moved, dtype)
                moved = moved if dtype is None else moved.to(dtype)
                setattr(module, name, torch.nn.Parameter(moved, requires_grad=False))
    if (problem := check.problem()) is not None:
        raise CheckpointError(f"{directory}: {problem}")
    if device.type == "cuda":
        model.vision_tower.to(memory_format=torch.channels_last)
    # The library keeps its rotary frequencies outside the state dict; on the meta device they have no values.
    llama = model.language_model.model
    llama.rotary_emb = LlamaRotaryEmbedding(model.language_model.config).to(device)
    return model.eval()


def load(
    directory: Path,
    device: torch.device,
    dtype: torch.dtype | None,
    quantization: str | None = None,
    robot: str | Path | None = None,
    statistics: Path | None = None,
) -> Checkpoint:
    """Load a checkpoint directory, this project's or one as microsoft/Magma-8B is published; `dtype` None keeps the
    stored type.

    `robot` is the default robot instead of the checkpoint's own: one of its further robots, one that ships, or a folder
    (`robots.find`); `statistics` is a file in place of its statistics.json. A published checkpoint has no robot, and
    without one its policy can talk but not act. Raises CheckpointError for tensors that do not fit and ConfigError for
    the JSON files.
    """
    directory = Path(directory)
    found = describe(directory)
    published_layout = published.is_published(directory / CONFIG)
    acts = not published_layout or robot is not None or (directory / robots.ACTION_SPEC).is_file()
    if not acts and statistics is not None:
        raise ConfigError(f"{statistics}: statistics need an action_spec.json, or the name of a robot, to go with them")
    homes = _robot_homes(directory, robot) if acts else {}
    known = _read_robots(homes, found.config, statistics)
    settings = {"dtype": str(dtype or found.dtype), "quantization": quantization or "none"}
    identity = IdentityUnderWay(directory, shards(directory), homes, statistics, settings)
    model = load_model(directory, found.config, device, dtype, quantization, found.shapes)
    try:
        return Checkpoint(model, found.tokenizer, known, found.stop_ids, identity.result())
    except OSError as error:
        raise CheckpointError(f"{directory}: cannot be read ({error})") from error


def _robot_homes(directory: Path, robot: str | Path | None) -> dict[str, Path]:
    """Folders of the default robot and of the checkpoint's further ones."""
    homes = {robots.DEFAULT: directory if robot is None else robots.find(directory, robot)}
    return homes | {name: directory / robots.FOLDER / name for name in robots.names_in(directory)}


def _read_robots(homes: Mapping[str, Path], config: MagmaConfig, statistics: Path | None) -> dict[str, Robot]:
    """The robots of these folders, each checked against the model."""
    known: dict[str, Robot] = {}
    for name, home in homes.items():
        one = robots.read(home, None if statistics is None or name else Path(statistics))
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
    """Write a checkpoint directory; `state` is a Magma state dict, `known` the robots as in `Checkpoint.robots`. The
    weights are written last and renamed into place, so that an interrupted save never leaves a directory that loads
    with half of the tensors."""
    directory.mkdir(parents=True, exist_ok=True)
    save_json(config, directory / CONFIG)
    for name, robot in known.items():
        robots.write(robot, directory / robots.FOLDER / name if name else directory)
    tokenizer.save(directory / TOKENIZER)
    partial = directory / (WEIGHTS + ".partial")
    save_file({n: t.detach().to("cpu", dtype).contiguous() for n, t in state.items()}, str(partial))
    # The library creates its file for the owner alone; a checkpoint is for everyone who may read the directory.
    partial.chmod(0o644)
    partial.replace(directory / WEIGHTS)
