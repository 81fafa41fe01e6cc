"""Configuration of every part of the model, as frozen dataclasses with a JSON form.

One set of classes describes Magma-8B and the small `magma-tiny`; they differ by the numbers (and by the optional
modules `grounding`, `geometry` and `proprioception`, which are `None` in Magma-8B). Values are checked at construction
and unknown keys are errors, so that a typing mistake in a file never silently falls back to a default.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

from magma_policy.checks import require, require_size, require_word
from magma_policy.errors import shown
from magma_policy.inference.llama_config import TEXT_SIZES, TextConfig
from magma_policy.marks.mark_pointer_config import MarkPointerConfig

T = TypeVar("T")


@dataclass(frozen=True)
class VisionConfig:
    """ConvNeXt tower: `depths` blocks of `dims` channels per stage; stage s has stride 4 * 2**s."""

    depths: tuple[int, ...]
    dims: tuple[int, ...]
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        require(
            len(self.depths) == len(self.dims) > 0, f"vision depths {self.depths} and dims {self.dims} must pair up"
        )
        require(len(self.dims) <= 8, f"vision depths and dims must have at most 8 stages, got {len(self.dims)}")
        for depth, dim in zip(self.depths, self.dims, strict=True):
            require_size(depth, 1024, "vision depths")
            require_size(dim, 2**16, "vision dims")
        require(self.layer_norm_eps > 0, f"vision layer_norm_eps must be positive, got {self.layer_norm_eps}")

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
        require_size(self.base_size, 4096, "image base_size")
        require_size(self.max_num_crops, 64, "image max_num_crops")
        require_size(self.max_num_crops * self.base_size**2, 2**24, "image pixels (max_num_crops * base_size²)")
        require(min(self.std) > 0, f"image std must be positive, got {self.std}")


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
        require(self.base_vocab_size > 256, f"base_vocab_size must exceed 256, got {self.base_vocab_size}")
        for item in dataclasses.fields(self):
            if item.name != "base_vocab_size":
                value = getattr(self, item.name)
                require(
                    value is None or value >= self.base_vocab_size,
                    f"special token {item.name} = {value} lies inside the base vocabulary of {self.base_vocab_size}",
                )
                require_size(value or 1, TEXT_SIZES["vocab_size"], f"special token {item.name}")

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
class StateConfig:
    """Residual network that turns the measured state (and the marks) into one token per action dimension."""

    hidden_size: int = 512
    num_blocks: int = 2
    fourier_bands: int = 6

    def __post_init__(self) -> None:
        require_size(self.hidden_size, 2**16, "state hidden_size")
        for name in ("num_blocks", "fourier_bands"):
            value = getattr(self, name)
            require(0 <= value <= 64, f"state {name} must be 0 to 64, got {shown(value)}")


@dataclass(frozen=True)
class MagmaConfig:
    """The whole model. The last four fields are this project's optional additions to Magma; None switches them off.

    `geometry` "table_plane" casts marks to the table by the calibration of the robot's camera (`CameraCalibration`).

    `image_markers` says whether prompts put `<image_start>` and `<image_end>` around an image, as Magma-8B's do.
    """

    name: str
    vision: VisionConfig
    image: ImageConfig
    text: TextConfig
    tokens: TokenConfig
    image_markers: bool = True
    grounding: MarkPointerConfig | None = None
    geometry: str | None = None
    proprioception: bool = False
    state: StateConfig | None = None

    def __post_init__(self) -> None:
        require_word(self.name, "name")
        require(not set("/\\") & set(self.name), f"name must be no path, got {shown(self.name)}")
        require(
            self.image.base_size % self.vision.stride == 0,
            f"image base_size {self.image.base_size} is not a multiple of the vision stride {self.vision.stride}",
        )
        require(
            self.geometry in (None, "table_plane"), f"geometry must be 'table_plane' or null, got {self.geometry!r}"
        )
        require(
            self.geometry is None or self.grounding is not None,
            "geometry projects marks, so it needs grounding; switch grounding on or geometry off",
        )
        needs_state = self.grounding is not None or self.proprioception
        require(
            needs_state == (self.state is not None),
            "state tokens carry grounding and proprioception: set `state` exactly when one of those is on",
        )
        if self.grounding is not None:
            require(self.image.max_num_crops == 1, "grounding points into a single tile: set image max_num_crops to 1")

    @property
    def cells_per_tile(self) -> int:
        """Side of one tile's feature map."""
        return self.image.base_size // self.vision.stride


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
        grounding=MarkPointerConfig(),
        geometry=geometry,
        proprioception=True,
        state=StateConfig(),
    )


def magma_small_config() -> MagmaConfig:
    """A plain Magma of a few million parameters, with Magma-8B's image sizes: for trials of everything but skill."""
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
