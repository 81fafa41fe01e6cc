"""What was done in an episode, as a file of arrays: replays and videos are made from it."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_eval.actions import END_EFFECTOR_DELTA, ActionType
from magma_eval.results.episode_result import ResultsError
from magma_eval.typed import shown

LARGEST_RECORD_BYTES = 64 << 20
"""An hour of steps has less than two megabytes."""


@dataclass(frozen=True)
class EpisodeRecord:
    """What was done in one episode of T steps and Q questions to the policy."""

    actions: NDArray[Any]
    """(T, ...) one row per step, as the task's action type packs them: of an arm float64 (T, 7), EndEffectorDelta;
    where there was no command, the one that changes nothing"""
    commanded: NDArray[np.bool_]
    """(T,) whether the step executed the policy's command"""
    late_s: NDArray[np.float64]
    """(T,) time from the step's beginning until the command took effect"""
    success: NDArray[np.bool_]
    """(T,) whether the goal held after the step"""
    query_step: NDArray[np.int64]
    """(Q,) step of the frame that was looked at"""
    query_ms: NDArray[np.float64]
    """(Q,) time from question to answer"""

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.savez(file, **vars(self))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    @classmethod
    def read(cls, path: Path, action_type: ActionType[Any] = END_EFFECTOR_DELTA) -> EpisodeRecord:
        """Inverse of `write`.

        Args:
            path: the file.
            action_type: of the task that was played.

        Raises:
            ResultsError: the file is missing or not such a record.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(item.file_size for item in archive.infolist())
            if unpacked > LARGEST_RECORD_BYTES:
                raise ValueError(f"it unpacks to {unpacked} bytes, at most {LARGEST_RECORD_BYTES} are read")
            with np.load(path, allow_pickle=False) as file:
                record = cls(**{item.name: file[item.name] for item in dataclasses.fields(cls)})
        # Not a list of types: on damaged files zipfile and numpy let almost any error through.
        except Exception as error:
            raise ResultsError(f"{path} is not the record of an episode: {shown(str(error))}") from error
        steps, queries = len(np.atleast_1d(record.actions)), len(np.atleast_1d(record.query_step))
        for name, kind, shape in (
            ("commanded", np.bool_, (steps,)),
            ("late_s", np.float64, (steps,)),
            ("success", np.bool_, (steps,)),
            ("query_step", np.int64, (queries,)),
            ("query_ms", np.float64, (queries,)),
        ):
            array = np.asarray(getattr(record, name))
            if array.dtype != kind or array.shape != shape or not np.isfinite(array).all():
                raise ResultsError(
                    f"{path}: {name} must be finite {np.dtype(kind)} of shape {shape}, got {array.dtype} {array.shape}"
                )
        try:
            action_type.unpack(record.actions)
        except ValueError as error:
            raise ResultsError(f"{path}: {error}") from error
        return record
