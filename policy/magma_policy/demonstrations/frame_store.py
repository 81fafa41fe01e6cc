"""The pictures of all episodes as one array: in memory while they are few, else in a file that the system pages in and
out, so that a set may be larger than memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FrameStore:
    """Takes in pictures uint8 (T, H, W, 3) of one size; beyond `memory_bytes` all of them go to a file without a name
    in `folder` (the system's folder for temporary files when None), which vanishes with the process."""

    def __init__(self, memory_bytes: float, folder: Path | None = None) -> None:
        self._most, self._folder = memory_bytes, folder
        self._parts: list[NDArray[np.uint8]] = []
        self._file: Any = None
        self.count = 0
        self._held = 0
        self._shape: tuple[int, ...] = ()

    def add(self, frames: NDArray[np.uint8]) -> None:
        """OSError when the disk is full."""
        self._parts.append(frames)
        self._shape = frames.shape[1:]
        self.count += len(frames)
        self._held += frames.nbytes
        if self._held > self._most or self._file is not None:
            self._spill()

    def joined(self) -> NDArray[np.uint8] | None:
        """All of them, (F, H, W, 3); None when there were none."""
        if not self.count:
            return None
        if self._file is None:
            return np.concatenate(self._parts)
        self._file.flush()
        return np.memmap(self._file, dtype=np.uint8, mode="r+", shape=(self.count, *self._shape))

    def _spill(self) -> None:
        if self._file is None:
            # Open as long as the array: it goes with it.
            self._file = tempfile.TemporaryFile(dir=self._folder, prefix="magma-frames-")  # noqa: SIM115
        assert self._file is not None
        for frames in self._parts:
            self._file.write(np.ascontiguousarray(frames).data)
        self._parts, self._held = [], 0
