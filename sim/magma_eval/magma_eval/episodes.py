"""One episode of a suite, written out: all that decides what the simulator does, and nothing about the policy."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from magma_eval.typed import check_fields, named, read_json, shown

SUITE_FILE_FORMAT = "magma-eval-suite-1"
Variant = Literal["eval", "random"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
"""fixed evaluation layouts, and layouts drawn from a seed"""


def canonical_json(value: object) -> str:
    """JSON text that is equal for equal values: sorted keys, no spaces. NaN and infinities are refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def short_hash(value: object, digits: int = 12) -> str:
    """The first hexadecimal digits of the SHA-256 of `canonical_json`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:digits]


@dataclass(frozen=True)
class Episode:
    """One start of one task.

    Raises:
        ValueError: a field is empty, negative, or not of its kind.
    """

    suite: str
    task: str
    """what the rate is counted under, such as google_robot_pick_coke_can"""
    variant: str
    """which version of the scene, such as urdf=recolor_tabletop_visual_matching_1; "eval" where there is only one"""
    episode_id: int
    """number within (task, variant)"""
    make: str
    """name for `magma_eval.benchmarks.make_task`"""
    layout: int
    """number for `Task.reset`; the same as `episode_id` unless several environments share one variant"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """keyword arguments for it, JSON values"""
    reset_variant: Variant = "eval"
    factor: str = "base"
    """what the variant varies (base, robot colour, background, lighting, distractors, table, cabinet, camera): lets a
    report leave the camera variants out, as SimplerEnv's own metric does"""

    def __post_init__(self) -> None:
        for name in ("suite", "task", "variant", "make", "factor"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"an episode's {name} is a text that is not empty, got {shown(getattr(self, name))}")
        for name in ("episode_id", "layout"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 0:
                raise ValueError(f"an episode's {name} is a number from 0 on, got {shown(getattr(self, name))}")
        check_fields(self)
        if self.reset_variant not in VARIANTS:
            raise ValueError(f"reset_variant is one of {', '.join(VARIANTS)}, got {shown(self.reset_variant)}")
        canonical_json(dict(self.options))

    @property
    def environment(self) -> str:
        """Equal for episodes that can share one environment."""
        return f"{self.make} {canonical_json(dict(self.options))}"

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dataclasses.asdict(self) | {"options": dict(self.options)}

    @classmethod
    def from_json(cls, value: object) -> Episode:
        """Inverse of `as_json`; ValueError says what is wrong."""
        if not isinstance(value, dict):
            raise ValueError(f"an episode is an object, got {shown(value)}")
        known = {item.name for item in dataclasses.fields(cls)}
        if unknown := sorted(set(value) - known):
            raise ValueError(
                f"an episode has no fields {', '.join(map(named, unknown[:5]))}; there are {', '.join(sorted(known))}"
            )
        if not isinstance(value.get("options", {}), dict):
            raise ValueError(f"an episode's options are an object, got {shown(value['options'])}")
        try:
            return cls(**cast("dict[str, Any]", value))
        except TypeError as error:
            raise ValueError(f"an episode is incomplete: {shown(str(error))}") from error


@dataclass(frozen=True)
class Suite:
    """A named list of episodes."""

    name: str
    title: str
    make: Callable[[], list[Episode]]
    published_as: str = ""
    """suite under which others published rates of the same tasks; empty: its own name"""


def write_suite_file(path: Path, episodes: Sequence[Episode]) -> None:
    """Writes a list of episodes that `--suite FILE` plays."""
    rows = ",\n  ".join(canonical_json(episode.as_json()) for episode in episodes)
    path.write_text(f'{{"format": "{SUITE_FILE_FORMAT}", "episodes": [\n  {rows}\n]}}\n', encoding="utf-8")


def read_suite_file(path: Path) -> list[Episode]:
    """Inverse of `write_suite_file`; ValueError says what is wrong with the file."""
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a suite file: {error}") from error
    if not isinstance(content, dict) or content.get("format") != SUITE_FILE_FORMAT:
        raise ValueError(f'{path} is not a suite file: its "format" must be "{SUITE_FILE_FORMAT}"')
    rows = content.get("episodes")
    if not isinstance(rows, list):
        raise ValueError(f"{path}: its episodes must be a list, got {shown(rows)}")
    episodes = []
    for number, row in enumerate(rows):
        try:
            episodes.append(Episode.from_json(row))
        except ValueError as error:
            raise ValueError(f"{path}, episode {number}: {error}") from error
    check_episodes(episodes, str(path))
    return episodes


def check_episodes(episodes: Sequence[Episode], source: str) -> None:
    """ValueError when there is no episode, or two episodes would be counted under one name."""
    if not episodes:
        raise ValueError(f"{source} holds no episodes")
    seen: set[tuple[str, str, str, int]] = set()
    for episode in episodes:
        name = (episode.suite, episode.task, episode.variant, episode.episode_id)
        if name in seen:
            raise ValueError(f"{source} holds two episodes {name}; suite, task, variant and episode_id must differ")
        seen.add(name)
