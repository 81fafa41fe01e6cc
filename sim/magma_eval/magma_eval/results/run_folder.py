"""The folder of a run, read: what was played, and every result in it.

run.json                     what is played, and with which command
results.jsonl                one line per episode; results-0-of-4.jsonl for shard 0/4
episodes/<name>.npz          what was done in each episode: actions, flags, times; replay and videos come from these
not_reproducible.jsonl       episodes played twice that ended differently: the result that counts, and the other
logs/                        what simulators and policy server printed
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from magma_contracts.files.outputs import explained
from magma_contracts.files.typed_tables import naming
from magma_eval.results import earlier_demos
from magma_eval.results.episode_result import SUCCESS_RULES, EpisodeResult, Key, ResultsError
from magma_eval.typed import parse_json, read_json, shown

RUN_FORMAT = "magma-eval-run-2"
_RUN_FORMATS = (RUN_FORMAT, "magma-eval-run-1")
"""what is read; the first format did not say which content a policy had"""
RUN_FILE = "run.json"
MEMORY = "policy_memory_mib"
"""Entry of run.json: how much memory the policy took, by place, as its server told."""
FACTS = "machine_facts"
"""Entry of run.json, of runs on several machines: renderer, data files, versions, which are the same on all of them."""
CONTRADICTIONS = "not_reproducible.jsonl"
LONGEST_LINE_BYTES = 1 << 20


def results_files(folder: Path) -> list[Path]:
    """The files of lines in a run's folder, sorted by name."""
    return sorted(folder.glob("results*.jsonl"))


def read_lines(path: Path) -> Iterator[EpisodeResult]:
    """The results in a file. A last line that was cut off is left out: that episode was not finished.

    Raises:
        ResultsError: any other line that is not a result.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE_BYTES):
            number += 1
            if not line.endswith(b"\n"):
                if len(line) == LONGEST_LINE_BYTES:
                    raise ResultsError(f"{path}, line {number}: it is longer than {LONGEST_LINE_BYTES} bytes")
                return
            try:
                value = parse_json(line)
                yield earlier_demos.result_of(value) if earlier_demos.is_line(value) else EpisodeResult.from_json(value)
            except ValueError as error:
                raise ResultsError(f"{path}, line {number}: {error}") from error


def is_run(folder: Path) -> bool:
    """Whether the folder is a run's already."""
    return (folder / RUN_FILE).exists() or earlier_demos.is_folder(folder)


def read_run(folder: Path) -> dict[str, Any]:
    """The content of run.json; ResultsError when there is none, or it is not one."""
    path = folder / RUN_FILE
    try:
        if is_run(folder) and not path.exists():
            content = {"format": RUN_FORMAT, **earlier_demos.run_of(folder)}
        else:
            with naming(RUN_FILE):
                content = read_json(path)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{folder} is not the folder of a run: {explained(error)}") from error
    if not isinstance(content, dict) or content.get("format") not in _RUN_FORMATS:
        raise ResultsError(f'{path} has not the "format" "{RUN_FORMAT}"')
    run = dict(content)
    kinds: dict[str, type] = {"suite": str, "training": str, "rule": str, "identity": dict, "commands": list}
    for name, kind in {**kinds, "versions": dict, "machine": dict}.items():
        if not isinstance(run.setdefault(name, "last" if name == "rule" else kind()), kind):
            raise ResultsError(f"{path}: {name} must be a {kind.__name__}, got {shown(run[name])}")
    if run["rule"] not in SUCCESS_RULES:
        raise ResultsError(f"{path}: rule must be one of {', '.join(SUCCESS_RULES)}, got {shown(run['rule'])}")
    if not all(isinstance(command, str) for command in run["commands"]):
        raise ResultsError(f"{path}: commands must be texts")
    for place, name in ((run["identity"], "policy"), (run["identity"], "factory"), (run, "training"), (run, "suite")):
        if not isinstance(place.setdefault(name, ""), str) or not place[name].isprintable():
            raise ResultsError(f"{path}: {name} must be a printable text, got {shown(place[name])}")
    return run


def contradictions_remark(folder: Path) -> str:
    """What a reader must know of episodes that were played twice and ended differently; "" without any."""
    path = folder / CONTRADICTIONS
    count = path.read_bytes().count(b"\n") if path.is_file() else 0
    return f"{folder}: {count} episodes are not reproducible: played twice, they ended differently" if count else ""


def content_of(folder: Path) -> str:
    """Names a run's folder by what is in its run.json and its files of lines."""
    found = hashlib.sha256()
    for path in (folder / RUN_FILE, *results_files(folder)):
        data = path.read_bytes() if path.is_file() else b""
        found.update(hashlib.sha256(data).digest())
    return found.hexdigest()[:12]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@dataclass(frozen=True)
class Collected:
    """Results without repetitions."""

    results: list[EpisodeResult]
    duplicates: int
    """lines left out because another says the same"""


def collect(results: Iterable[EpisodeResult]) -> Collected:
    """One result per key, sorted by key. A result replaces an error; the last error of several counts.

    Raises:
        ResultsError: two results of one key that differ, which a deterministic simulator and policy never give.
    """
    kept: dict[Key, EpisodeResult] = {}
    duplicates = 0
    for result in results:
        before = kept.get(result.key)
        if before is None or before.status == "error":
            kept[result.key] = result
            continue
        if result.status == "error":
            continue
        if differ := before.difference(result):
            raise ResultsError(f"two different results of one episode, {shown(result.key.name)}: {differ}")
        duplicates += 1
    return Collected([kept[key] for key in sorted(kept)], duplicates)


def load(folder: Path) -> Collected:
    """All results of a run's folder; ResultsError when something is wrong with them.

    Results of the first format do not tell the policy's content and settings: what run.json knows is filled in.
    """
    identity = read_run(folder)["identity"]
    content = str(identity.get("policy_files") or "")
    steps = identity.get("execute_steps")
    settings = {} if steps is None else {"actions per answer": str(steps)}

    def completed(result: EpisodeResult) -> EpisodeResult:
        if result.key.policy_identity or not content:
            return result
        key = dataclasses.replace(result.key, policy_identity=content)
        return dataclasses.replace(result, key=key, settings=result.settings or settings)

    return collect(completed(result) for path in results_files(folder) for result in read_lines(path))


@dataclass(frozen=True)
class RunFolder:
    """A run as the report reads it."""

    folder: Path
    run: dict[str, Any]
    results: list[EpisodeResult]
    duplicates: int
    content: str = ""
    """names what is in the folder's files"""

    @classmethod
    def read(cls, folder: Path) -> RunFolder:
        """ResultsError when the folder holds no run."""
        collected = load(folder)
        return cls(folder, read_run(folder), collected.results, collected.duplicates, content_of(folder))


def without_repetitions(runs: Sequence[RunFolder]) -> tuple[list[RunFolder], list[str]]:
    """The runs with every episode once, where it stands first: shards beside their merge hold the same ones. And what a
    reader must know of it: an episode played twice with different ends."""
    kept: dict[Key, EpisodeResult] = {}
    different = 0
    found = []
    for run in runs:
        results, repeated = [], 0
        for result in run.results:
            before = kept.get(result.key)
            if before is None or (before.status == "error" and result.status == "ok"):
                kept[result.key] = result
                results.append(result)
            else:
                repeated += 1
                different += result.status == before.status == "ok" and before.outcome() != result.outcome()
        found.append(replace(run, results=results, duplicates=run.duplicates + repeated))
    # An error that a later folder made good counts no more.
    found = [replace(run, results=[r for r in run.results if kept[r.key] is r]) for run in found]
    text = (
        f"{different} episodes were played more than once by the same policy with the same settings and ended "
        "differently; the first counts"
    )
    return found, [text] if different else []
