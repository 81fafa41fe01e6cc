"""Images as the towers want them: resized, cut and normalised by what the checkpoint's own file says.

Numerically what torchvision does to a Pillow image: Pillow resizes uint8 pixels, the rest is float32.

Source: `prismatic/extern/hf/processing_prismatic.py` of github.com/openvla/openvla. Its `tvf_*` entries are set from
the file after they were computed from the others, so where the file has them, they are what was used in training; in
the published file they hold ImageNet's values as bfloat16 rounds them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from magma_contracts.errors import ConfigError
from magma_policy.errors import shown
from magma_policy.files.json_files import read_object
from magma_policy.files.json_values import read_flag

Triple = tuple[float, float, float]
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
STRATEGIES = ("resize-naive", "letterbox", "resize-crop")


@dataclass(frozen=True)
class TowerPixels:
    """What one tower's pixels come from.

    `resize` is (height, width), or the length of the shorter side; `crop` (height, width) is then cut from the middle.
    """

    resize: tuple[int, int] | int
    crop: tuple[int, int]
    interpolation: Image.Resampling
    mean: Triple
    std: Triple


@dataclass(frozen=True)
class ImageRules:
    """Of all towers; `letterbox` is the colour of the border that makes an image square before anything else."""

    towers: tuple[TowerPixels, ...]
    letterbox: tuple[int, int, int] | None = None

    def pixels(self, image: np.ndarray) -> Tensor:
        """A uint8 rgb image (H, W, 3) to float32 (3 per tower, S, S)."""
        picture = Image.fromarray(np.ascontiguousarray(image))
        if self.letterbox is not None:
            picture = _squared(picture, self.letterbox)
        done: dict[Any, Tensor] = {}
        for tower in self.towers:
            shape = (tower.resize, tower.crop, tower.interpolation)
            if shape not in done:
                cut = _cut(_resized(picture, tower.resize, tower.interpolation), tower.crop)
                done[shape] = torch.from_numpy(np.array(cut)).permute(2, 0, 1).contiguous().float().div(255)
        stacked = [
            (done[tower.resize, tower.crop, tower.interpolation] - _column(tower.mean)) / _column(tower.std)
            for tower in self.towers
        ]
        return torch.cat(stacked)


def _column(values: Triple) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(3, 1, 1)


def _squared(picture: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """With a border on both short sides; an odd difference leaves it one pixel short of a square."""
    longest = max(picture.size)
    across, down = (longest - picture.width) // 2, (longest - picture.height) // 2
    return ImageOps.expand(picture, (across, down, across, down), fill=colour)


def _resized(picture: Image.Image, size: tuple[int, int] | int, filter_: Image.Resampling) -> Image.Image:
    if isinstance(size, int):
        width, height = picture.size
        longer = int(size * max(width, height) / min(width, height))
        size = (longer, size) if width <= height else (size, longer)
    return picture.resize((size[1], size[0]), filter_)


def _cut(picture: Image.Image, crop: tuple[int, int]) -> Image.Image:
    left, top = round((picture.width - crop[1]) / 2.0), round((picture.height - crop[0]) / 2.0)
    return picture.crop((left, top, left + crop[1], top + crop[0]))


def read_image_rules(path: Path, sides: tuple[int, ...]) -> ImageRules:
    """What preprocessor_config.json says, for towers that see squares of `sides` pixels. Raises ConfigError."""
    data = read_object(path)
    count = len(sides)
    fused = read_flag(data, "use_fused_vision_backbone", count == 2, path)
    if fused != (count == 2):
        raise ConfigError(f"{path}: use_fused_vision_backbone is {fused}, but the model has {count} vision tower(s)")
    strategy = data.get("image_resize_strategy", "letterbox")
    if strategy not in STRATEGIES:
        raise ConfigError(f"{path}: image_resize_strategy {shown(strategy)} is none of {list(STRATEGIES)}")
    means = _triples(_each(data, "means", count, path, [[0.5] * 3]), "means", path)
    stds = _triples(_each(data, "stds", count, path, [[0.5] * 3]), "stds", path)
    sizes = [_pair(entry, "input_sizes", path) for entry in _each(data, "input_sizes", count, path, [[3, 224, 224]])]
    towers = []
    for number, side in enumerate(sides):
        resize = _parameters(data, "tvf_resize_params", number, count, path)
        crop = _parameters(data, "tvf_crop_params", number, count, path)
        normalise = _parameters(data, "tvf_normalize_params", number, count, path)
        tower = TowerPixels(
            resize=_resize_size(resize, sizes[number], strategy, path),
            crop=_pair(crop["output_size"], "tvf_crop_params.output_size", path) if crop else sizes[number],
            interpolation=_interpolation(resize, data, number, count, path),
            mean=_triple(normalise["mean"], "tvf_normalize_params.mean", path) if normalise else means[number],
            std=_triple(normalise["std"], "tvf_normalize_params.std", path) if normalise else stds[number],
        )
        _check(tower, side, path)
        towers.append(tower)
    return ImageRules(tuple(towers), _letterbox(data, strategy, means[-1], path))


def _check(tower: TowerPixels, side: int, path: Path) -> None:
    if tower.crop != (side, side):
        raise ConfigError(f"{path}: gives pictures of {tower.crop} pixels, the vision tower sees {(side, side)}")
    smallest = tower.resize if isinstance(tower.resize, int) else min(tower.resize)
    if not side <= smallest <= 4096:
        raise ConfigError(f"{path}: resizes pictures to {tower.resize}, of which {(side, side)} pixels are to be cut")
    if min(tower.std) <= 0:
        raise ConfigError(f"{path}: the standard deviations must be positive, got {tower.std}")


def _each(data: dict[str, Any], name: str, count: int, path: Path, default: list[Any]) -> list[Any]:
    """A list with one entry per tower."""
    value = data.get(name)
    value = default if value is None else value
    if not isinstance(value, list) or len(value) != count:
        raise ConfigError(f"{path}: {name} must have {count} entries, one per vision tower, got {shown(value)}")
    return value


def _parameters(data: dict[str, Any], name: str, number: int, count: int, path: Path) -> dict[str, Any]:
    """A tower's entry of a list that may be absent: {} then."""
    if data.get(name) is None:
        return {}
    entry = _each(data, name, count, path, [])[number]
    needed = {"tvf_crop_params": ("output_size",), "tvf_normalize_params": ("mean", "std")}.get(name, ("size",))
    missing = [key for key in needed if not isinstance(entry, dict) or key not in entry]
    if missing:
        raise ConfigError(f"{path}: {name} entry {shown(entry)} does not say {missing}")
    return dict(entry)


def _resize_size(resize: dict[str, Any], size: tuple[int, int], strategy: str, path: Path) -> tuple[int, int] | int:
    if not resize:
        return size if strategy == "resize-naive" else size[1]
    if resize.get("max_size") is not None:
        raise ConfigError(f"{path}: tvf_resize_params.max_size {shown(resize['max_size'])} is not null")
    # Pillow always smooths what it shrinks, whatever is asked.
    value = resize["size"]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    return _pair(value, "tvf_resize_params.size", path)


def _interpolation(
    resize: dict[str, Any], data: dict[str, Any], number: int, count: int, path: Path
) -> Image.Resampling:
    if "interpolation" in resize:
        name, value = "tvf_resize_params.interpolation", resize["interpolation"]
    else:
        name, value = "interpolations", _each(data, "interpolations", count, path, ["bicubic"] * count)[number]
    by_number = {int(filter_): filter_ for filter_ in INTERPOLATIONS.values()}
    if isinstance(value, str) and value in INTERPOLATIONS:
        return INTERPOLATIONS[value]
    if isinstance(value, int) and not isinstance(value, bool) and value in by_number:
        return by_number[value]
    raise ConfigError(f"{path}: {name} {shown(value)} is none of {sorted(INTERPOLATIONS)} or Pillow's numbers for them")


def _letterbox(data: dict[str, Any], strategy: str, mean: Triple, path: Path) -> tuple[int, int, int] | None:
    if not read_flag(data, "tvf_do_letterbox", strategy == "letterbox", path):
        return None
    fill = data.get("tvf_letterbox_fill")
    # The last tower's mean: the original computes it for each and keeps the last.
    colour = [int(value * 255) for value in mean] if fill is None else fill
    if (
        not isinstance(colour, list)
        or len(colour) != 3
        or any(not isinstance(v, int) or isinstance(v, bool) or not 0 <= v <= 255 for v in colour)
    ):
        raise ConfigError(f"{path}: tvf_letterbox_fill must be three whole numbers of 0 to 255, got {shown(colour)}")
    return colour[0], colour[1], colour[2]


def _pair(value: Any, name: str, path: Path) -> tuple[int, int]:
    """(height, width), which may stand behind a number of channels."""
    if isinstance(value, list) and len(value) == 3:
        value = value[1:]
    if (
        not isinstance(value, list)
        or len(value) != 2
        or any(not isinstance(v, int) or isinstance(v, bool) or not 1 <= v <= 4096 for v in value)
    ):
        raise ConfigError(f"{path}: {name} must be a height and a width of 1 to 4096 pixels, got {shown(value)}")
    return value[0], value[1]


def _triples(values: list[Any], name: str, path: Path) -> list[Triple]:
    return [_triple(value, name, path) for value in values]


def _triple(value: Any, name: str, path: Path) -> Triple:
    if (
        not isinstance(value, list)
        or len(value) != 3
        or any(not isinstance(v, (int, float)) or isinstance(v, bool) or not abs(v) < math.inf for v in value)
    ):
        raise ConfigError(f"{path}: {name} must be three finite numbers, got {shown(value)}")
    return float(value[0]), float(value[1]), float(value[2])
