"""Candidates from pixels by a detector that the user has as a TorchScript file, such as OmniParser's (icon_detect_v3, a
YOLOv9-E under the MIT licence; its older detectors are under the AGPL).

A TorchScript file is a program: loading one runs what it holds. Only a file that a person has named is loaded, never
one that a checkpoint or a page names, and never a pickle.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.boxes import apart
from magma_policy.errors import CommandError
from magma_policy.screens.candidates import LEAST_SIDE_PX, Candidate

SIDE_PX = 640
LEAST_CONFIDENCE = 0.05
MOST_OVERLAP = 0.1
"""As OmniParser's own program has them."""
_GREY = 114
"""Of the border that makes a picture square, as detectors of this family were trained with."""
_MOST = 1000
_LARGEST_FILE = 2 << 30


class Detector:
    """A detector from a file.

    It is given float32 (1, 3, 640, 640) rgb from 0 to 1, the picture scaled to fit with a grey border, and answers
    (1, 4 + classes, boxes): middle x and y, width, height in these pixels, then a confidence per class.

    Args:
        path: of the file.
        side: of its square input in pixels.

    Raises:
        CommandError: no such file, no TorchScript, or one that answers something else.
    """

    def __init__(self, path: Path, side: int = SIDE_PX) -> None:
        import torch

        if not path.is_file():
            raise CommandError(f"{path}: no such file")
        try:
            with zipfile.ZipFile(path) as archive:
                names = [item.filename for item in archive.infolist()]
                size = sum(item.file_size for item in archive.infolist())
        except (zipfile.BadZipFile, OSError) as error:
            raise CommandError(f"{path} is no TorchScript file: {error}") from error
        # What torch.save writes is a pickle in the same kind of archive; TorchScript has code beside it.
        if size > _LARGEST_FILE or not any("/code/" in name for name in names):
            raise CommandError(
                f"{path} is no TorchScript file, as torch.jit.save writes it; pickled weights are not read"
            )
        try:
            self._module = torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise CommandError(f"{path} cannot be loaded as TorchScript: {str(error).splitlines()[0]}") from error
        self._path, self._side = path, side
        self.candidates(np.zeros((64, 64, 3), np.uint8))

    def candidates(self, image: NDArray[np.uint8]) -> list[Candidate]:
        """What it finds in a screenshot, uint8 (H, W, 3) rgb, the surest first.

        Raises:
            CommandError: the file's program fails, or answers something else.
        """
        import torch

        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"a screenshot is a uint8 array (H, W, 3), got {image.dtype} {image.shape}")
        pixels, scale = self._squared(image)
        try:
            with torch.inference_mode():
                answer = self._module(torch.from_numpy(pixels))
        except RuntimeError as error:
            raise CommandError(f"{self._path} failed: {str(error).splitlines()[-1][:200]}") from error
        first = answer[0] if isinstance(answer, (list, tuple)) and answer else answer
        if not isinstance(first, torch.Tensor) or first.ndim != 3 or first.shape[0] != 1 or first.shape[1] < 5:
            shape = tuple(first.shape) if isinstance(first, torch.Tensor) else type(first).__name__
            raise CommandError(f"{self._path} answers {shape}, not (1, 4 + classes, boxes) as such detectors do")
        return _found(first[0].float().cpu().numpy().T, scale, image.shape[1], image.shape[0])

    def _squared(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """The picture as the file takes it, and by how much it was scaled."""
        height, width = image.shape[:2]
        scale = self._side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.full((self._side, self._side, 3), _GREY, np.uint8)
        pixels[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]).astype(np.float32)
        planes /= 255.0
        return planes, scale


def _found(rows: NDArray[np.float32], scale: float, width: int, height: int) -> list[Candidate]:
    """Candidates of rows (N, 4 + classes); boxes that are not finite, too small or outside are left out."""
    rows = rows[np.isfinite(rows).all(axis=1)]
    confidence = rows[:, 4:].max(axis=1, initial=0.0)
    order = np.argsort(-confidence, kind="stable")[:_MOST]
    order = order[confidence[order] >= LEAST_CONFIDENCE]
    x, y, across, down = (rows[order, :4] / scale).astype(np.float64).T
    limits = np.array([width, height, width, height], dtype=np.float64)
    boxes = np.clip(np.stack([x - across / 2, y - down / 2, x + across / 2, y + down / 2], axis=1), 0.0, limits)
    large = ((boxes[:, 2:] - boxes[:, :2]) >= LEAST_SIDE_PX).all(axis=1)
    boxes, sure = boxes[large], confidence[order][large]
    return [Candidate((a, b, c, d)) for a, b, c, d in boxes[apart(boxes, sure, MOST_OVERLAP)].tolist()]
