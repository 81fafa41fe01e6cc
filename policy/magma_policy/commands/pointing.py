"""What the commands of a model that points have in common: the checkpoint, the picture, numbers or JSON, a drawing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from magma_contracts.errors import ConfigError
from magma_contracts.files.server_tokens import TOKEN_VARIABLE
from magma_contracts.geometry.boxes import in_pixels
from magma_policy.errors import CheckpointError, CommandError
from magma_policy.files.hub import HubError
from magma_policy.files.image_files import check_image_file, resize, write_image
from magma_policy.marks.drawing import draw_named_boxes
from magma_policy_client.checkpoint_paths import CheckpointNotFoundError, locate

if TYPE_CHECKING:
    from magma_contracts.grounding import Pointer

PUBLISHED = "microsoft/kosmos-2-patch14-224"
SERVER_S = 60.0
"""How long a server is waited for."""
DRAWN_SIDE = 512
"""A drawing's smaller side is at least so many pixels."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PointingOptions:
    """Which model points, and how its answer is shown."""

    checkpoint: str = PUBLISHED
    """Folder of a checkpoint of KOSMOS-2, with kosmos2: before it or not; owner/name on the Hugging Face Hub (fetched
    once; the published one is 6.7 GB); or ws://host:port of a magma-serve that serves one."""
    device: Literal["auto", "cuda", "cpu", "mps"] = "auto"
    """Where the model runs; auto = the GPU when there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format; auto = float32 on a CPU, bfloat16 on a GPU."""
    threads: int = 0
    """CPU threads of the model; 0 = torch's own choice."""
    draw: Path | None = None
    """Where to save the picture with the boxes drawn."""
    json: bool = False
    """Print JSON; boxes are x1 y1 x2 y2 as fractions of the picture."""

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= 1024:
            raise ConfigError(f"--threads must be from 0 to 1024, got {self.threads}")

    def points(self) -> bool:
        """Whether the checkpoint is of a family that points. Raises CommandError where there is none."""
        from magma_policy.families import registry

        try:
            return registry.points(self._place())
        except (ConfigError, HubError) as error:
            raise CommandError(str(error)) from error

    def load(self) -> Pointer:
        """Loads the checkpoint, or connects to the server. Raises CommandError, and OutputError where the drawing
        cannot be written."""
        if self.draw is not None:
            check_image_file(self.draw, "--draw")
        if self.checkpoint.startswith(("ws://", "wss://")):
            return self._connect()
        place = self._place()
        # torch takes seconds to import; a wrong name is told before that.
        import torch

        from magma_policy.families import registry

        if self.threads:
            torch.set_num_threads(self.threads)
        dtype = None if self.dtype == "auto" else self.dtype
        try:
            return registry.load_pointer(place, self.device, dtype)
        except (CheckpointError, ConfigError, HubError, torch.OutOfMemoryError) as error:
            raise CommandError(str(error)) from error

    def _place(self) -> Path | str:
        try:
            return locate(self.checkpoint.removeprefix("kosmos2:"))
        except CheckpointNotFoundError as error:
            raise CommandError(str(error)) from error

    def _connect(self) -> Pointer:
        from magma_policy_client import GroundingClient, PolicyClientError

        try:
            return GroundingClient(self.checkpoint, os.environ.get(TOKEN_VARIABLE), SERVER_S)
        except (PolicyClientError, ValueError) as error:
            raise CommandError(str(error)) from error

    def save_drawing(self, image: np.ndarray, boxes: np.ndarray, names: Sequence[str]) -> None:
        """Saves the picture with boxes (N, 4) of fractions and their names, if that was asked for."""
        if self.draw is None:
            return
        height, width = image.shape[:2]
        zoom = max(1, -(-DRAWN_SIDE // min(height, width)))
        large = resize(image, width * zoom, height * zoom)
        pixels = in_pixels(np.asarray(boxes).reshape(-1, 4), width * zoom, height * zoom)
        write_image(self.draw, draw_named_boxes(large, pixels, names))


def asked(question: Callable[[], T]) -> T:
    """What a model answers; CommandError for what cannot be asked, or when its server does not answer."""
    from magma_policy_client import PolicyClientError

    try:
        return question()
    except (ValueError, PolicyClientError) as error:
        raise CommandError(str(error)) from error


def pixel_box(box: np.ndarray, image: np.ndarray) -> str:
    """A box (4,) of fractions as a person reads it, in pixels of the picture."""
    x1, y1, x2, y2 = np.rint(in_pixels(box, image.shape[1], image.shape[0])).astype(int)
    return f"x {x1}–{x2}, y {y1}–{y2}"


def plain(values: np.ndarray) -> list[Any]:
    """Numbers for JSON, as many digits as mean something."""
    rounded: list[Any] = np.round(np.asarray(values, dtype=float), 6).tolist()
    return rounded
