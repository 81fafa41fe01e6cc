"""The result of one episode: its key, its verdicts and its times, as one line of JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

import numpy as np

from magma_eval.episodes import Episode, canonical_json, short_hash
from magma_eval.typed import check_fields, named, shown

RESULT_FORMAT = "magma-eval-result-2"
_RESULT_FORMATS = (RESULT_FORMAT, "magma-eval-result-1")
"""what is read; the first format did not say which content a policy had"""
SuccessRule = Literal["last", "first", "ever"]
SUCCESS_RULES: tuple[SuccessRule, ...] = get_args(SuccessRule)
RULE_TEXT: dict[SuccessRule, str] = {
    "last": "the goal holds at the last step (SimplerEnv's own rule)",
    "first": "the episode ends when the goal holds for the first time",
    "ever": "the goal held at any step of an episode played to its end",
}


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
    """what else was chosen and differs from the default, in words: actions per answer, image size, arm, teleop"""
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

    def difference(self, other: EpisodeResult) -> str:
        """How another result of the same episode contradicts this one, in words; "" when both say the same.

        In real time on a real clock nothing repeats exactly, so nothing contradicts there.
        """
        if self.clock == "wall":
            return ""
        mine, theirs = self.outcome(), other.outcome()
        differ = [n for n, v in mine.items() if canonical_json(v) != canonical_json(theirs[n])]
        return ", ".join(f"{n} {shown(mine[n])} and {shown(theirs[n])}" for n in differ)[:500]
