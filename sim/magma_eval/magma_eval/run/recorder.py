"""The one writer of a run's folder: which run it belongs to, and every result as it comes."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from magma_eval.results.episode_result import EpisodeResult, ResultsError, SuccessRule
from magma_eval.results.run_folder import (
    CONTRADICTIONS,
    FACTS,
    MEMORY,
    RUN_FILE,
    RUN_FORMAT,
    is_run,
    read_run,
    write_json,
)
from magma_eval.results.store import ResultStore


@dataclass(frozen=True)
class RunDescription:
    """What run.json says of a run."""

    identity: Mapping[str, Any]
    """what all results in one folder share"""
    policy: Mapping[str, str]
    """how it was asked for, and where it is"""
    suite: str
    rule: SuccessRule
    versions: Mapping[str, str]
    training: str = ""
    """how the policy was trained, as the person says who runs it; empty: nothing was said"""
    known_training: str = ""
    """the same, as the policy itself says"""
    command: str = ""
    """the command line"""


class Recorder:
    """Keeps the results of a run; a context manager that keeps others out of the same file.

    A folder that holds another run is refused at once, but none is claimed before its first result: a run that fails
    before that leaves no run.json.

    Args:
        folder: of the run; made when it is not there.
        name: of the file of lines.
        description: of the run.

    Raises:
        ResultsError: the folder is of another run, another process writes to it, or a line in it is broken.
    """

    def __init__(self, folder: Path, name: str, description: RunDescription) -> None:
        self._folder, self._description = folder, description
        self._claimed = False
        self._facts: dict[str, str] = {}
        self.training: str = self._content()["training"]
        """how the policy was trained, in the folder's words"""
        (folder / "episodes").mkdir(parents=True, exist_ok=True)
        self._store = ResultStore(folder / name)

    @property
    def results(self) -> list[EpisodeResult]:
        """Every result in the file."""
        return self._store.results

    def keep(self, result: EpisodeResult) -> None:
        """Adds a result; when this returns, it is on the disk."""
        if not self._claimed:
            # Read anew: other shards may have begun meanwhile.
            write_json(self._folder / RUN_FILE, self._content())
            self._claimed = True
        self._store.append(result)

    def keep_record(self, name: str, data: bytes) -> None:
        """Adds the record of an episode that was played on another machine, whole or not at all.

        Args:
            name: of the file, relative to the run's folder.
            data: its content.
        """
        path = self._folder / name
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def keep_contradiction(self, kept: EpisodeResult, other: EpisodeResult) -> None:
        """Notes beside the results that an episode was played twice and ended differently; the first result stays."""
        line = json.dumps({"kept": kept.as_json(), "other": other.as_json()}, ensure_ascii=False, allow_nan=False)
        with (self._folder / CONTRADICTIONS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def facts(self) -> dict[str, str]:
        """What decides how episodes go on the machines that have played some, as far as it was compared."""
        found = self._content().get(FACTS)
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}

    def keep_facts(self, facts: Mapping[str, str]) -> None:
        """Notes that; with the first result where the folder has none yet."""
        self._facts = dict(facts)
        if self._claimed:
            write_json(self._folder / RUN_FILE, self._content())

    def keep_memory(self, mib: Mapping[str, float]) -> None:
        """Notes how much memory the policy took, by place; the largest of several parts of a run stays. Nothing where
        no result was kept."""
        if not self._claimed or not mib:
            return
        content = self._content()
        before = content.get(MEMORY)
        known = before if isinstance(before, dict) else {}
        content[MEMORY] = {**known, **{place: max(value, _number(known.get(place))) for place, value in mib.items()}}
        write_json(self._folder / RUN_FILE, content)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.close()

    def _content(self) -> dict[str, Any]:
        """What run.json holds from now on; ResultsError when the folder is of another run."""
        told = self._description
        content: dict[str, Any] = {
            "format": RUN_FORMAT,
            "identity": dict(told.identity),
            "policy": dict(told.policy),
            "suite": told.suite,
            "training": told.training or told.known_training or "not stated",
            "rule": told.rule,
            "commands": [],
            "versions": dict(told.versions),
            "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        }
        if is_run(self._folder):
            check_same_run(self._folder, told.identity, told.training)
            content = read_run(self._folder)
        if self._facts:
            content[FACTS] = self._facts
        if told.command and told.command not in content["commands"]:
            content["commands"].append(told.command)
        return content


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def check_same_run(folder: Path, identity: Mapping[str, Any], training: str) -> None:
    """ResultsError when a folder holds another run, by as much of the run's identity as is known already."""
    if not is_run(folder):
        return
    before = read_run(folder)
    different = {
        name: (before["identity"].get(name), value)
        for name, value in identity.items()
        if before["identity"].get(name) != value
    }
    if different:
        what = "; ".join(f"{name} was {old!r} and is {new!r}" for name, (old, new) in different.items())
        raise ResultsError(f"{folder} holds results of another run: {what}. Choose another --out")
    if training and training != before["training"]:
        raise ResultsError(
            f"{folder} says of the policy's training {before['training']!r}, not {training!r}. Choose another --out"
        )
