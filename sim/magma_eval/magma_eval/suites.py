"""Suites by name, each a list of episodes written out in full; and parts of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from magma_eval.benchmarks import benchmarks
from magma_eval.episodes import Episode, Suite, Variant, check_episodes, read_suite_file

SUITES: dict[str, Suite] = {suite.name: suite for benchmark in benchmarks() for suite in benchmark.suites}
"""Those of every installed benchmark."""


def suite_episodes(suite: str | os.PathLike[str]) -> list[Episode]:
    """The episodes of a suite.

    Args:
        suite: a name of `SUITES`, or a suite file (see `magma_eval.episodes.write_suite_file`).

    Raises:
        ValueError: neither of the two; the message lists the suites.
    """
    name = os.fspath(suite)
    if name in SUITES:
        episodes = SUITES[name].make()
        check_episodes(episodes, name)
        return episodes
    if Path(name).is_file():
        return read_suite_file(Path(name))
    raise ValueError(f"unknown suite {name!r}; it is one of {', '.join(SUITES)}, or the path of a suite file")


def plain_tasks() -> dict[str, list[Episode]]:
    """Task of an arm, as `make_task` knows it -> its evaluation episodes in the first suite that plays it as it is."""
    found: dict[str, list[Episode]] = {}
    for suite in (suite for benchmark in benchmarks() if benchmark.arms for suite in benchmark.suites):
        own: dict[str, list[Episode]] = {}
        for episode in suite.make():
            if episode.reset_variant == "eval" and not episode.options:
                own.setdefault(episode.make, []).append(episode)
        for task, episodes in own.items():
            found.setdefault(task, episodes)
    return found


def one_task(task: str, variant: Variant, first_layout: int, count: int) -> list[Episode]:
    """Consecutive layouts of one task: a suite's own episodes, so that other runs of that suite can be compared; of the
    variant "random", layouts that no suite plays.

    Raises:
        ValueError: no suite plays this task as it is, or it has no such evaluation layouts.
    """
    known = plain_tasks()
    if task not in known:
        raise ValueError(f"no suite plays the task {task!r} as it is; there are {', '.join(known)}")
    own, layouts = known[task], range(first_layout, first_layout + count)
    if variant == "random":
        suite, name = own[0].suite, own[0].task
        return [
            Episode(suite, name, variant, layout, make=task, layout=layout, reset_variant=variant) for layout in layouts
        ]
    chosen = [episode for episode in own if episode.layout in layouts]
    if len(chosen) < count:
        raise ValueError(
            f"{task} has {len(own)} evaluation layouts, numbered from 0; layouts {first_layout} to {layouts[-1]} were "
            "asked for"
        )
    return chosen


def select(
    episodes: list[Episode], *, tasks: tuple[str, ...] = (), variants: tuple[str, ...] = (), limit: int | None = None
) -> list[Episode]:
    """Some of the episodes, in the same order.

    Args:
        episodes: all of them.
        tasks: tasks to keep; all when empty.
        variants: variants to keep; all when empty.
        limit: the first so many episodes of each (task, variant).

    Raises:
        ValueError: a task or variant that does not occur, or nothing is left.
    """
    for kind, wanted in (("task", tasks), ("variant", variants)):
        known = list(dict.fromkeys(getattr(episode, kind) for episode in episodes))
        if missing := [name for name in wanted if name not in known]:
            raise ValueError(f"no episode has the {kind} {', '.join(missing)}; there are {', '.join(known)}")
    if limit is not None and limit < 1:
        raise ValueError(f"the limit is at least 1, got {limit}")
    kept = [
        episode
        for episode in episodes
        if (not tasks or episode.task in tasks)
        and (not variants or episode.variant in variants)
        and (limit is None or episode.episode_id < limit)
    ]
    if not kept:
        raise ValueError("no episode is left: the task and the variant do not occur together")
    return kept


@dataclass(frozen=True)
class Shard:
    """Every `count`-th group of episodes, so that several machines share a suite without talking to each other."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise ValueError(f"a shard is i/n with 0 <= i < n, got {self.index}/{self.count}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "i/n", i from 0."""
        index, slash, count = text.partition("/")
        if not slash or not index.isdecimal() or not count.isdecimal():
            raise ValueError(f"a shard is given as i/n, such as 0/4, got {text!r}")
        return cls(int(index), int(count))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, episodes: list[Episode]) -> list[Episode]:
        """The episodes of this shard: whole runs of one environment are dealt out in turn where there are enough."""
        environments = list(dict.fromkeys(episode.environment for episode in episodes))
        if len(environments) >= 4 * self.count:
            place = {environment: number % self.count for number, environment in enumerate(environments)}
            return [episode for episode in episodes if place[episode.environment] == self.index]
        return episodes[self.index :: self.count]
