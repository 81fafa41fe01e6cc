"""An OpenVLA checkpoint directory, loaded as it is published, with the robots that it can act on.

Names and shapes are compared one by one before anything is loaded, those of tensors that are not used too; there is no
partial load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from magma_contracts.errors import ConfigError
from magma_policy.embodiments import robots
from magma_policy.embodiments.robots import Robot
from magma_policy.errors import CheckpointError
from magma_policy.families.identity import IdentityUnderWay, numbered
from magma_policy.families.openvla import published_files
from magma_policy.families.openvla.config import OpenVLAConfig
from magma_policy.families.openvla.images import ImageRules
from magma_policy.families.openvla.model import OpenVLA
from magma_policy.families.openvla.published_files import CONFIG, EMBEDDING, PREPROCESSOR, TOKENIZER
from magma_policy.families.openvla.tokenizer import OpenVLATokenizer
from magma_policy.families.openvla.vision import TOWER_NAMES, unused_tensors
from magma_policy.files.weight_files import (
    count_layers,
    map_tensors,
    read_shapes,
    refuse_mismatch,
    refuse_other_depths,
    refuse_other_folders,
    shards,
    stored_type,
)
from magma_policy.inference.weight_loading import fill

# What OpenVLA-OFT's training writes beside the same files. Of its adapter the settings come from the Hub, as data.
OFT_FILES = ("action_head--*", "proprio_projector--*", "vision_backbone--*", "lora_adapter")


@dataclass(frozen=True)
class Checkpoint:
    """Everything a policy is made of; `robots` by name has the default one under ""."""

    model: OpenVLA
    tokenizer: OpenVLATokenizer
    images: ImageRules
    robots: Mapping[str, Robot]
    identity: str


def load_model(
    directory: Path,
    config: OpenVLAConfig,
    device: torch.device,
    dtype: torch.dtype | None,
    quantization: str | None = None,
    shapes: dict[str, tuple[int, ...]] | None = None,
) -> OpenVLA:
    """Build the model without memory, check every name and shape, then fill it from the mapped files; `dtype` None
    keeps the stored type. `shapes` are the files' own when they were read already. Raises CheckpointError for what is
    missing, unexpected, of another shape or not finite."""
    files = shards(directory)
    found = read_shapes(files) if shapes is None else shapes
    counts = {"decoder layers": (config.text.num_hidden_layers, count_layers(found, "language_model.model.layers."))}
    for prefix, tower in zip(TOWER_NAMES, config.towers, strict=False):
        counts[f"blocks of the {tower.kind} tower"] = (tower.depth, count_layers(found, f"{prefix}blocks."))
    refuse_other_depths(directory, CONFIG, counts)
    with torch.device("meta"):
        model = OpenVLA(config)
    unused = unused_tensors(config.towers)
    refuse_mismatch(directory, {n: tuple(t.shape) for n, t in model.state_dict().items()} | unused, found)
    fill(model, map_tensors(files, without=unused), directory, device, dtype, quantization)
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
    """Load a checkpoint directory as OpenVLA's are published; `dtype` None keeps the stored type.

    `robot` is the default robot instead of the checkpoint's own: one of its further robots, one that ships, or a folder
    (`robots.find`); `statistics` is a file in place of the checkpoint's, and `unnorm_key` the data set in it in place
    of the specification's `statistics_key`, both for the default robot alone. Raises CheckpointError for tensors that
    do not fit and ConfigError for the JSON files, or when nothing says for which robot it acts.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such checkpoint directory")
    refuse_other_folders(directory, CONFIG)
    _refuse_oft(directory)
    files = shards(directory)
    shapes = read_shapes(files)
    found = published_files.read(directory, shapes)
    default = statistics or published_files.statistics_file(directory)
    homes = _robot_homes(directory, robot, default)
    # What was named is the default robot's.
    bounds = {name: published_files.statistics_file(directory) if name else default for name in homes}
    known = {
        name: _read_robot(home, bounds[name], None if name else unnorm_key, found.config.name)
        for name, home in homes.items()
    }
    settings = {"dtype": str(dtype or stored_type(files, EMBEDDING)), "quantization": quantization or "none"}
    settings |= {f"statistics of robot {name}": one.spec.statistics_key for name, one in known.items()}
    parts = {name: directory / name for name in (CONFIG, PREPROCESSOR, TOKENIZER)} | numbered(files)
    parts |= {f"robot {name}: {robots.ACTION_SPEC}": home / robots.ACTION_SPEC for name, home in homes.items()}
    parts |= {f"robot {name}: statistics": path for name, path in bounds.items()}
    identity = IdentityUnderWay(directory, parts, settings)
    model = load_model(directory, found.config, device, dtype, quantization, shapes)
    return Checkpoint(model, found.tokenizer, found.images, known, identity.result())


def _robot_homes(directory: Path, robot: str | Path | None, bounds: Path) -> dict[str, Path]:
    if robot is None and not (directory / robots.ACTION_SPEC).is_file():
        raise ConfigError(
            f"{directory}: does not say for which robot it acts, and there is no {robots.ACTION_SPEC} beside it: name "
            f"a robot ({', '.join(robots.PUBLISHED)}, or a folder with {robots.ACTION_SPEC}; --robot); {bounds.name} "
            f"has statistics of {published_files.statistics_keys(bounds)}"
        )
    return robots.homes(directory, robot)


def _read_robot(home: Path, bounds: Path, key: str | None, policy: str) -> Robot:
    """A robot with the checkpoint's statistics, not its folder's own: the model learned its actions in those."""
    one = robots.read(home, bounds, key)
    one = dataclasses.replace(one, spec=dataclasses.replace(one.spec, policy=policy))
    one.check_fits(_Inputs(), str(home))
    return one


@dataclass(frozen=True)
class _Inputs:
    """What an OpenVLA reads beside image and words: nothing."""

    proprioception: bool = False
    geometry: str | None = None


def _refuse_oft(directory: Path) -> None:
    for pattern in OFT_FILES:
        other = next(iter(sorted(directory.glob(pattern))), None)
        if other is not None:
            raise CheckpointError(
                f"{directory}: holds {other.name}, as OpenVLA-OFT does, whose actions are not read from ids; serve it "
                "with its own code"
            )
