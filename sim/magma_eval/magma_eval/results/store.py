"""Results as they come, written so that a kill at any moment loses no finished episode."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from types import TracebackType

from magma_eval.results.episode_result import EpisodeResult, ResultsError
from magma_eval.results.run_folder import collect, read_lines


class ResultStore:
    """The one writer of a run's results. A context manager that keeps others out of the same file.

    Args:
        path: file of lines; its folder must exist.

    Raises:
        ResultsError: another process writes to it, or a line in it is broken.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise ResultsError(f"another evaluation is writing {path}; wait for it or stop it") from error
        try:
            self.results = collect(read_lines(path)).results if path.exists() else []
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except BaseException:
            os.close(self._lock)
            raise
        self._cut_torn_line()

    def append(self, result: EpisodeResult) -> None:
        """Adds a line; when this returns, the episode is on the disk."""
        line = (json.dumps(result.as_json(), ensure_ascii=False, allow_nan=False) + "\n").encode()
        written = os.write(self._file, line)
        if written != len(line):
            self._cut_torn_line()
            raise OSError(f"could write only {written} of {len(line)} bytes to {self._path}: is the disk full?")
        os.fsync(self._file)
        self.results.append(result)

    def close(self) -> None:
        """Lets others write."""
        os.close(self._file)
        os.close(self._lock)

    def __enter__(self) -> ResultStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cut_torn_line(self) -> None:
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            with contextlib.closing(os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CLOEXEC), "wb")) as file:
                file.truncate(whole)
                os.fsync(file.fileno())
