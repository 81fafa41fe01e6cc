"""Configuration of every part of the model, as frozen dataclasses with a JSON form.

One set of classes describes Magma-8B and the small `magma-tiny`; they differ by the numbers (and by the optional
modules `grounding`, `geometry` and `proprioception`, which are `None` in Magma-8B). Values are checked at construction
and unknown keys are errors, so that a typing mistake in a file never silently falls back to a default.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from magma_policy.errors import ConfigError as ConfigError
from magma_policy.errors import shown
from magma_policy.json_files import read_object

T = TypeVar("T")

MAX_PICTURE_SIDE = 8192
"""Pixels of the longest side of a camera's picture."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _require_size(value: int, largest: int, what: str) -> None:
    """Sizes beyond any model would fill the memory before a weight is looked at."""
    _require(1 <= value <= largest, f"{what} must be positive and at most {largest}, got {shown(value)}")


def _require_word(value: str, what: str) -> None:
    """Names are printed, sent to other programs and used in file names."""
    plain = value.isprintable() and value.strip() == value and 0 < len(value) <= 128
    _require(plain, f"{what} must be 1 to 128 printable characters without spaces around them, got {shown(value)}")


@dataclass(frozen=True)
class VisionConfig:
    """ConvNeXt tower: `depths` blocks of `dims` channels per stage; stage s has stride 4 * 2**s."""

    depths: tuple[int, ...]
    dims: tuple[int, ...]
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _require(
            len(self.depths) == len(self.dims) > 0, f"vision depths {self.depths} and dims {self.dims} must pair up"
        )
        _require(len(self.dims) <= 8, f"vision depths and dims must have at most 8 stages, got {len(self.dims)}")
        for depth, dim in zip(self.depths, self.dims, strict=True):
            _require_size(depth, 1024, "vision depths")
            _require_size(dim, 2**16, "vision dims")
        _require(self.layer_norm_eps > 0, f"vision layer_norm_eps must be positive, got {self.layer_norm_eps}")

    @property
    def stride(self) -> int:
        """Pixels per cell of the last stage."""
        return int(4 * 2 ** (len(self.dims) - 1))


@dataclass(frozen=True)
class ImageConfig:
    """Pixels: tile side, number of tiles allowed, and the per-channel normalisation (CLIP's by default)."""

    base_size: int
    max_num_crops: int
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def __post_init__(self) -> None:
        _require_size(self.base_size, 4096, "image base_size")
        _require_size(self.max_num_crops, 64, "image max_num_crops")
        _require_size(self.max_num_crops * self.base_size**2, 2**24, "image pixels (max_num_crops * base_size²)")
        _require(min(self.std) > 0, f"image std must be positive, got {self.std}")


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
                _require_size(value, largest, f"text {name}")
        for name in ("rms_norm_eps", "rope_theta"):
            _require(getattr(self, name) > 0, f"text {name} must be positive, got {getattr(self, name)}")
        _require(
            self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}",
        )
        _require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            f"num_attention_heads {self.num_attention_heads} is not a multiple of "
            f"num_key_value_heads {self.num_key_value_heads}",
        )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class TokenConfig:
    """Layout of the vocabulary. The 256 action ids are the last 256 of the `base_vocab_size` base entries.

    `action` is a placeholder of training that no prompt uses; None when a tokenizer has no such token.
    """

    base_vocab_size: int
    begin_of_text: int
    start_header: int
    end_header: int
    end_of_turn: int
    pad: int
    image: int
    action: int | None
    image_start: int
    image_end: int

    def __post_init__(self) -> None:
        _require(self.base_vocab_size > 256, f"base_vocab_size must exceed 256, got {self.base_vocab_size}")
        for item in dataclasses.fields(self):
            if item.name != "base_vocab_size":
                value = getattr(self, item.name)
                _require(
                    value is None or value >= self.base_vocab_size,
                    f"special token {item.name} = {value} lies inside the base vocabulary of {self.base_vocab_size}",
                )
                _require_size(value or 1, TEXT_SIZES["vocab_size"], f"special token {item.name}")

    @classmethod
    def magma_layout(cls, base_vocab_size: int) -> TokenConfig:
        """Magma's offsets: Llama-3's 256 reserved tokens, then Magma's five (base 128000 gives the published ids)."""
        b = base_vocab_size
        return cls(b, b, b + 6, b + 7, b + 9, b + 256, b + 257, b + 258, b + 259, b + 260)

    @property
    def total_size(self) -> int:
        """Rows the embedding table needs to hold every token named here."""
        return max(self.image_end, self.image_start, self.action or 0, self.image, self.pad) + 1


@dataclass(frozen=True)
class GroundingConfig:
    """Set-of-Mark pointing: `num_marks` query tokens point into a key map made from the vision levels.

    `map_size` is the side of the heat map in cells; `window` the radius in cells of the local soft-argmax.
    """

    num_marks: int = 4
    key_dim: int = 48
    map_size: int = 32
    window: int = 2

    def __post_init__(self) -> None:
        _require_size(self.num_marks, 64, "grounding num_marks")
        _require_size(self.key_dim, 2**12, "grounding key_dim")
        _require_size(self.map_size, 512, "grounding map_size")
        _require(self.window >= 1, f"grounding window must be at least 1, got {self.window}")


@dataclass(frozen=True)
class CameraCalibration:
    """A robot's calibrated camera: marks are cast to the plane z = `plane_height_m` of the base frame.

    `intrinsics` is K (3x3, pixels, at `image_height` x `image_width`); `extrinsics` is the 4x4 transform from the
    base frame to the camera's optical frame (x right, y down, z forward).
    """

    intrinsics: tuple[tuple[float, ...], ...]
    extrinsics: tuple[tuple[float, ...], ...]
    image_height: int
    image_width: int
    plane_height_m: float

    def __post_init__(self) -> None:
        for name, size in (("intrinsics", 3), ("extrinsics", 4)):
            rows = getattr(self, name)
            _require(len(rows) == size and all(len(r) == size for r in rows), f"camera {name} must be {size}x{size}")
        values = [v for row in (*self.intrinsics, *self.extrinsics) for v in row]
        _require(all(math.isfinite(v) for v in values), "camera matrices must be finite")
        (fx, _, _), (below, fy, _), last = self.intrinsics
        _require(
            min(fx, fy) >= 1e-3 and max(fx, fy) <= 1e6 and (below, *last) == (0.0, 0.0, 0.0, 1.0),
            "camera intrinsics must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels with fx and fy positive, got "
            f"{self.intrinsics}",
        )
        rotation = [row[:3] for row in self.extrinsics[:3]]
        for i, row in enumerate(rotation):
            for k, other in enumerate(rotation[: i + 1]):
                product = sum(a * b for a, b in zip(row, other, strict=True))
                _require(
                    abs(product - (i == k)) <= 1e-3,
                    "camera extrinsics must be [R t; 0 1] with a rotation R, but its rows "
                    f"{k} and {i} multiply to {product:g}",
                )
        _require(self.extrinsics[3] == (0.0, 0.0, 0.0, 1.0), "camera extrinsics must end with the row [0, 0, 0, 1]")
        for side in (self.image_height, self.image_width):
            _require_size(side, MAX_PICTURE_SIDE, "camera image size")
        _require(
            abs(self.centre[2] - self.plane_height_m) >= 1e-3,
            "the camera lies in the plane of the table; check its extrinsics and plane_height_m",
        )

    @property
    def centre(self) -> tuple[float, float, float]:
        """The camera's centre -R^T t in the base frame, m."""
        rotation = [row[:3] for row in self.extrinsics[:3]]
        shift = [row[3] for row in self.extrinsics[:3]]
        x, y, z = (-sum(rotation[row][axis] * shift[row] for row in range(3)) for axis in range(3))
        return x, y, z


@dataclass(frozen=True)
class StateConfig:
    """Residual network that turns the measured state (and the marks) into one token per action dimension."""

    hidden_size: int = 512
    num_blocks: int = 2
    fourier_bands: int = 6

    def __post_init__(self) -> None:
        _require_size(self.hidden_size, 2**16, "state hidden_size")
        for name in ("num_blocks", "fourier_bands"):
            value = getattr(self, name)
            _require(0 <= value <= 64, f"state {name} must be 0 to 64, got {shown(value)}")


@dataclass(frozen=True)
class MagmaConfig:
    """The whole model. The last four fields are this project's optional additions to Magma; None switches them off.

    `geometry` "table_plane" casts marks to the table by the calibration of the robot's camera (`CameraCalibration`).

    `image_markers` says whether prompts put `<image_start>` and `<image_end>` around a picture, as Magma-8B's do.
    """

    name: str
    vision: VisionConfig
    image: ImageConfig
    text: TextConfig
    tokens: TokenConfig
    image_markers: bool = True
    grounding: GroundingConfig | None = None
    geometry: str | None = None
    proprioception: bool = False
    state: StateConfig | None = None

    def __post_init__(self) -> None:
        _require_word(self.name, "name")
        _require(not set("/\\") & set(self.name), f"name must be no path, got {shown(self.name)}")
        _require(
            self.image.base_size % self.vision.stride == 0,
            f"image base_size {self.image.base_size} is not a multiple of the vision stride {self.vision.stride}",
        )
        _require(
            self.geometry in (None, "table_plane"), f"geometry must be 'table_plane' or null, got {self.geometry!r}"
        )
        _require(
            self.geometry is None or self.grounding is not None,
            "geometry projects marks, so it needs grounding; switch grounding on or geometry off",
        )
        needs_state = self.grounding is not None or self.proprioception
        _require(
            needs_state == (self.state is not None),
            "state tokens carry grounding and proprioception: set `state` exactly when one of those is on",
        )
        if self.grounding is not None:
            _require(self.image.max_num_crops == 1, "grounding points into a single tile: set image max_num_crops to 1")

    @property
    def cells_per_tile(self) -> int:
        """Side of one tile's feature map."""
        return self.image.base_size // self.vision.stride


def to_dict(config: Any) -> dict[str, Any]:
    """Dataclass to plain JSON types."""
    return dict(json.loads(json.dumps(dataclasses.asdict(config))))


def from_dict(cls: type[T], data: Any, where: str = "") -> T:
    """Build dataclass `cls` from parsed JSON; unknown or missing keys and wrong types raise `ConfigError`."""
    where = where or cls.__name__
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected an object, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise ConfigError(f"{where}: unknown keys {shown(unknown)}; known keys are {sorted(fields)}")
    missing = [
        name
        for name, f in fields.items()
        if name not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: missing keys {missing}")
    return cls(**{name: _convert(hints[name], value, f"{where}.{name}") for name, value in data.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = [o for o in typing.get_args(hint) if o is not type(None)]
        if value is None:
            return None
        return _convert(options[0], value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: expected a list, got {shown(value)}")
        args = typing.get_args(hint)
        kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(kinds) != len(value):
            raise ConfigError(f"{where}: expected {len(kinds)} entries, got {len(value)}")
        return tuple(_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        # Also an integer may be too large for a float.
        if not abs(value) <= sys.float_info.max:
            raise ConfigError(f"{where}: must be a finite number, got {shown(value)}")
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: expected {hint.__name__}, got {shown(value)}")
    return value


def save_json(config: Any, path: Path) -> None:
    """Write a dataclass as JSON."""
    path.write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")


def load_json(cls: type[T], path: Path) -> T:
    """Read a dataclass from JSON; errors name the file."""
    data = read_object(path)
    with naming(path):
        return from_dict(cls, data, str(path))


@contextmanager
def naming(where: Path | str) -> Iterator[None]:
    """Puts the file, or a place in it, in front of the errors of what was read from there, if they lack it."""
    try:
        yield
    except ConfigError as error:
        if str(error).startswith(str(where)):
            raise
        raise ConfigError(f"{where}: {error}") from error


ADAPTERS = ("deltas", "widowx", "google_robot")
"""Names that `ActionSpec.adapter` may have; the classes are in `magma_policy.adapters`."""


@dataclass(frozen=True)
class ActionSpec:
    """What a policy's actions mean; a controller or task that disagrees must refuse to start.

    Deltas are (dx, dy, dz) in metres and a rotation vector in radians in frame `frame`; the gripper is absolute,
    0 closed to 1 open. `horizon` actions per call, `step_period_s` seconds each. `adapter` names what turns the model's
    own seven values into that (`magma_policy.adapters`): "deltas" when they are it already.
    """

    policy: str
    horizon: int
    step_period_s: float
    frame: str
    rotation: str
    gripper: str
    statistics_key: str
    camera: str
    image_height: int
    image_width: int
    proprioception: bool
    adapter: str = "deltas"

    def __post_init__(self) -> None:
        _require(self.adapter in ADAPTERS, f"action_spec adapter must be one of {ADAPTERS}, got {self.adapter!r}")
        for name in ("policy", "statistics_key", "camera"):
            _require_word(getattr(self, name), f"action_spec {name}")
        _require_size(self.horizon, 1024, "action_spec horizon")
        _require(self.step_period_s > 0, f"action_spec step_period_s must be positive, got {self.step_period_s}")
        _require(self.step_period_s <= 3600, f"action_spec step_period_s is in seconds, got {self.step_period_s}")
        _require(self.frame == "base", f"action_spec frame {self.frame!r} is not supported, only 'base'")
        _require(
            self.rotation == "axis_angle", f"action_spec rotation {self.rotation!r} is not supported, only 'axis_angle'"
        )
        _require(
            self.gripper == "absolute_open_1",
            f"action_spec gripper {self.gripper!r} is not supported, only 'absolute_open_1'",
        )
        for side in (self.image_height, self.image_width):
            _require_size(side, MAX_PICTURE_SIDE, "action_spec image size")


def magma_8b_config() -> MagmaConfig:
    """microsoft/Magma-8B as published: ConvNeXt-XXL, 512 px tiles, Llama-3-8B; no additions.

    Numbers: the model's config.json on Hugging Face and open_clip's `convnext_xxlarge` geometry.
    """
    return MagmaConfig(
        name="magma-8b",
        vision=VisionConfig(depths=(3, 4, 30, 3), dims=(384, 768, 1536, 3072)),
        image=ImageConfig(base_size=512, max_num_crops=4),
        text=TextConfig(
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
        ),
        tokens=TokenConfig.magma_layout(128000),
    )


def magma_tiny_config(geometry: str | None = None) -> MagmaConfig:
    """The small model that ships with the project: same classes, about 5 million parameters, acts on a CPU."""
    tokens = TokenConfig.magma_layout(1152)
    return MagmaConfig(
        name="magma-tiny",
        vision=VisionConfig(depths=(2, 2, 4, 1), dims=(32, 64, 128, 192)),
        image=ImageConfig(base_size=128, max_num_crops=1),
        text=TextConfig(
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            vocab_size=tokens.total_size,
            rope_theta=10000.0,
            max_position_embeddings=1024,
        ),
        tokens=tokens,
        grounding=GroundingConfig(),
        geometry=geometry,
        proprioception=True,
        state=StateConfig(),
    )


def magma_small_config() -> MagmaConfig:
    """A plain Magma of a few million parameters, with Magma-8B's picture sizes: for trials of everything but skill."""
    tokens = TokenConfig.magma_layout(1024)
    return MagmaConfig(
        name="magma-small",
        vision=VisionConfig(depths=(1, 1, 2, 1), dims=(16, 32, 64, 128)),
        image=ImageConfig(base_size=512, max_num_crops=4),
        text=TextConfig(
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            vocab_size=tokens.total_size,
            max_position_embeddings=8192,
        ),
        tokens=tokens,
    )
