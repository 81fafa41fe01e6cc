"""Results on disk: one JSON line per episode, written so that a kill at any moment loses no finished episode.

A run's folder:
    run.json                     what is played, and with which command
    results.jsonl                one line per episode; results-0-of-4.jsonl for shard 0/4
    episodes/<name>.npz          what was done in each episode: actions, flags, times; replay and videos come from these
    logs/                        what simulators and policy server printed
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from magma_sim.evaluation.episodes import Episode, canonical_json, short_hash
from magma_sim.evaluation.typed import check_fields, named, parse_json, shown

RESULT_FORMAT = "magma-eval-result-2"
RUN_FORMAT = "magma-eval-run-2"
_RESULT_FORMATS = (RESULT_FORMAT, "magma-eval-result-1")
_RUN_FORMATS = (RUN_FORMAT, "magma-eval-run-1")
"""what is read; the first formats did not say which content a policy had"""
RUN_FILE = "run.json"
SuccessRule = Literal["last", "first", "ever"]
SUCCESS_RULES: tuple[SuccessRule, ...] = get_args(SuccessRule)
RULE_TEXT: dict[SuccessRule, str] = {
    "last": "the goal holds at the last step (SimplerEnv's own rule)",
    "first": "the episode ends when the goal holds for the first time",
    "ever": "the goal held at any step of an episode played to its end",
}


LARGEST_RECORD_BYTES = 64 << 20
"""An hour of steps has less than two megabytes."""
LONGEST_LINE_BYTES = 1 << 20


class ResultsError(ValueError):
    """Files of results that cannot be used; the message says which and why."""


@dataclass(frozen=True, order=True)
class Key:
    """What makes an episode's result one of its kind."""

    suite: str
    task: str
    variant: str
    episode_id: int
    seed: int
    policy: str
    configuration: str
    """hash of everything else that decides the result: environment, clock, latency, rule, the policy's own files"""
    code: str
    """version of the code that played it"""
    policy_identity: str = ""
    """the policy's content, whatever it is called: of a checkpoint a hash of weights, configuration, robots and how it
    was loaded; of scripted ones their name; "" in results that do not tell"""

    @property
    def name(self) -> str:
        """A file name for this episode."""
        task = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in self.task)
        return f"{task}-{self.episode_id:03d}-{short_hash(dataclasses.asdict(self))}"

    @property
    def start(self) -> tuple[str, str, str, int, int]:
        """What two policies share when they play the same episode: suite, task, variant, episode id, seed."""
        return self.suite, self.task, self.variant, self.episode_id, self.seed


@dataclass(frozen=True)
class Success:
    """The verdict under each rule. None: the episode was not played in a way that tells."""

    last: bool | None
    first: bool | None
    ever: bool | None

    def under(self, rule: SuccessRule) -> bool | None:
        """The verdict under `rule`."""
        return {"last": self.last, "first": self.first, "ever": self.ever}[rule]


@dataclass(frozen=True)
class Stage:
    """Times of one stage over an episode, in milliseconds."""

    count: int
    mean: float
    median: float
    p95: float
    largest: float

    @classmethod
    def of(cls, values_ms: Iterable[float]) -> Stage:
        """From at least one value."""
        values = np.asarray(list(values_ms), dtype=np.float64)
        middle, high = np.percentile(values, [50, 95])
        return cls(len(values), *(round(float(v), 3) for v in (values.mean(), middle, high, values.max())))


@dataclass(frozen=True)
class EpisodeResult:
    """One line."""

    key: Key
    episode: Episode
    status: Literal["ok", "error"]
    """error: simulator or connection failed, so nothing is known about the policy; never counted as its failure"""
    rule: SuccessRule
    """the rule the run was made under"""
    clock: str
    """lockstep, realtime or wall"""
    latency_ms: float | None
    """injected; None in lock-step, and where the policy's own time counts"""
    training: str
    """how the policy was trained, in the run's words"""
    settings: Mapping[str, str] = field(default_factory=dict)
    """what else was chosen and differs from the default, in words: actions per answer, picture size, arm, teleop"""
    corrected_by: tuple[str, ...] = ()
    """devices of operators that moved the arm during the episode; the success is not the policy's alone then"""
    success: Success | None = None
    """None for errors"""
    first_success_step: int | None = None
    success_steps: int = 0
    """steps after which the goal held"""
    steps: int = 0
    max_steps: int = 0
    instruction: str = ""
    """at the last step"""
    queries: int = 0
    """times the policy was asked"""
    held_steps: int = 0
    """steps without a command: the policy was late"""
    rejected_actions: int = 0
    """answers that were no valid action and moved nothing"""
    notes: tuple[str, ...] = ()
    """what a reader must know, such as "rasterised, not comparable" """
    error: str = ""
    attempts: int = 1
    record: str = ""
    """file of the episode's actions, relative to the run's folder"""
    stages: Mapping[str, Stage] = field(default_factory=dict)
    """times; never the same twice"""
    seconds: float = 0.0
    host: str = ""
    written: str = ""
    """UTC"""

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {"format": RESULT_FORMAT} | dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object) -> EpisodeResult:
        """Inverse of `as_json`; ValueError says what is wrong."""
        if not isinstance(value, dict) or value.get("format") not in _RESULT_FORMATS:
            raise ValueError(f'it is not a result: its "format" must be "{RESULT_FORMAT}"')
        fields = {name: item for name, item in value.items() if name != "format"}
        try:
            fields["key"] = Key(**fields["key"])
            fields["episode"] = Episode.from_json(fields["episode"])
            if fields.get("success") is not None:
                fields["success"] = Success(**fields["success"])
            for name in ("notes", "corrected_by"):
                if not isinstance(fields.get(name, []), (list, tuple)):
                    raise ValueError(f"{name} must be a list, got {shown(fields[name])}")
                fields[name] = tuple(fields.get(name, ()))
            fields["stages"] = {name: Stage(**stage) for name, stage in fields.get("stages", {}).items()}
            result = cls(**fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"it is not a whole result: {shown(str(error))}") from error
        for part in (result, result.key, *result.stages.values()):
            check_fields(part)
        if result.success is not None:
            check_fields(result.success)
        if (result.success is None) != (result.status == "error"):
            raise ValueError("an error has no verdict, and every other result has one")
        # These stand in tables on a terminal.
        labels = {**vars(result.key), "training": result.training, **result.settings}
        for name, item in labels.items():
            if not f"{name}{item}".isprintable():
                raise ValueError(f"{named(name)} must be printable, got {shown(item)}")
        record = PurePosixPath(result.record)
        if result.record and (record.is_absolute() or len(record.parts) != 2 or record.parts[0] != "episodes"):
            raise ValueError(f"record must be a file in episodes/, got {shown(result.record)}")
        if ".." in record.parts:
            raise ValueError(f"record must be a file in episodes/, got {shown(result.record)}")
        return result

    def outcome(self) -> dict[str, Any]:
        """What must be equal when the same episode is played again: everything but times, machine and attempts."""
        volatile = ("stages", "seconds", "host", "written", "attempts", "error")
        return {name: value for name, value in self.as_json().items() if name not in volatile}


@dataclass(frozen=True)
class EpisodeRecord:
    """What was done in one episode of T steps and Q questions to the policy."""

    actions: NDArray[np.float64]
    """(T, 7) EndEffectorDelta; where there was no command, the one that holds still"""
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
    def read(cls, path: Path) -> EpisodeRecord:
        """Inverse of `write`; ResultsError when the file is missing or not such a record."""
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
            ("actions", np.float64, (steps, 7)),
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
        return record


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
                yield EpisodeResult.from_json(parse_json(line))
            except ValueError as error:
                raise ResultsError(f"{path}, line {number}: {error}") from error


def read_run(folder: Path) -> dict[str, Any]:
    """The content of run.json; ResultsError when there is none, or it is not one."""
    path = folder / RUN_FILE
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ResultsError(f"{folder} is not the folder of a run: {error}") from error
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
        # In real time on a real clock nothing repeats exactly; there the first result stays.
        if result.clock != "wall" and canonical_json(before.outcome()) != canonical_json(result.outcome()):
            one, other = before.outcome(), result.outcome()
            differ = ", ".join(f"{n} {shown(v)} and {shown(other[n])}" for n, v in one.items() if other[n] != v)
            raise ResultsError(f"two different results of one episode, {shown(result.key.name)}: {differ[:500]}")
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
