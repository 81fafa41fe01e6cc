"""The pictures that questions are about, wherever below a folder the publishers' own archives put them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from magma_eval.results.episode_result import ResultsError


class Pictures:
    """A folder of pictures."""

    def __init__(self, folder: Path) -> None:
        """Raises ResultsError where there is no folder."""
        if not folder.is_dir():
            raise ResultsError(f"--pictures {folder}: there is no such folder")
        self._folder = folder

    def find(self, name: str) -> Path:
        """The file of a picture: in the folder itself, or in COCO's own below it, such as val2014 of
        COCO_val2014_000000000042.jpg. Raises ResultsError."""
        split = re.match(r"COCO_([a-z]+\d{4})_", name)
        places = [self._folder / name, *([self._folder / split[1] / name] if split else [])]
        for path in places:
            if path.is_file():
                return path
        raise ResultsError(f"{places[0]}: there is no such picture; --pictures names the folder of all")

    def read(self, name: str) -> NDArray[np.uint8]:
        """A picture (H, W, 3) rgb, as it lies in its file: boxes were drawn on pictures that are not turned. Raises
        ResultsError."""
        path = self.find(name)
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
            raise ResultsError(f"{path}: cannot be read as a picture: {error}") from error
