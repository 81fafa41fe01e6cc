"""Suites by name, each a list of episodes written out in full."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from magma_sim.backends.tabletop.layouts import EVALUATION_LAYOUTS
from magma_sim.backends.tabletop.objects import TASKS
from magma_sim.backends.tabletop.perturbations import PERTURBATIONS
from magma_sim.evaluation import simpler_suites
from magma_sim.evaluation.episodes import Episode, check_episodes, read_suite_file

BRIDGE_TASKS = (
    "widowx_spoon_on_towel",
    "widowx_carrot_on_plate",
    "widowx_stack_cube",
    "widowx_put_eggplant_in_basket",
)
"""SimplerEnv's names and order"""
BRIDGE_EPISODES = 24


VALIDATION_EPISODES = 24
VALIDATION_SEED = 900_000_000
"""first random layout of the validation suites; the seeds of `magma-demos` stay below"""


def _validation(suite: str, tasks: tuple[str, ...]) -> list[Episode]:
    return [
        Episode(suite, task, "random", number, make=task, layout=VALIDATION_SEED + number, reset_variant="random")
        for task in tasks
        for number in range(VALIDATION_EPISODES)
    ]


def _tabletop() -> list[Episode]:
    return [
        Episode("tabletop", task, "eval", layout, make=task, layout=layout)
        for task in TASKS
        for layout in range(EVALUATION_LAYOUTS)
    ]


def _perturbed() -> list[Episode]:
    return [
        Episode(
            "tabletop-perturbed",
            task,
            perturbation,
            layout,
            make=task,
            layout=layout,
            options={"perturbation": perturbation},
            factor=perturbation,
        )
        for perturbation in PERTURBATIONS
        for task in TASKS
        for layout in range(EVALUATION_LAYOUTS)
    ]


def _bridge() -> list[Episode]:
    return [
        Episode("simpler-bridge", task, "eval", layout, make=task, layout=layout)
        for task in BRIDGE_TASKS
        for layout in range(BRIDGE_EPISODES)
    ]


@dataclass(frozen=True)
class Suite:
    """A named list of episodes."""

    name: str
    title: str
    make: Callable[[], list[Episode]]


SUITES = {
    suite.name: suite
    for suite in (
        Suite("tabletop", "built in: Panda, 4 tasks, 24 layouts each", _tabletop),
        Suite(
            "tabletop-validation",
            "tabletop on random layouts, for choosing a checkpoint; never trained on",
            lambda: _validation("tabletop-validation", TASKS),
        ),
        Suite(
            "tabletop-perturbed",
            "tabletop with one thing changed at a time: words, camera, light, objects; 10 x 96 episodes",
            _perturbed,
        ),
        Suite("simpler-bridge", "SimplerEnv's 4 Bridge tasks on ManiSkill 3, 24 episodes each", _bridge),
        Suite(
            "simpler-bridge-validation",
            "SimplerEnv's 4 Bridge tasks on random layouts, for choosing a checkpoint; never trained on",
            lambda: _validation("simpler-bridge-validation", BRIDGE_TASKS),
        ),
        Suite(
            simpler_suites.VISUAL_MATCHING,
            "original SimplerEnv, Google robot, visual matching: 864 episodes",
            simpler_suites.visual_matching,
        ),
        Suite(
            simpler_suites.VARIANT_AGGREGATION,
            "original SimplerEnv, Google robot, variant aggregation: 1992 episodes, cameras included",
            simpler_suites.variant_aggregation,
        ),
        Suite(
            simpler_suites.ORIGINAL_BRIDGE,
            "original SimplerEnv, WidowX: 4 Bridge tasks, 24 episodes each",
            simpler_suites.original_bridge,
        ),
    )
}


def suite_episodes(suite: str | os.PathLike[str]) -> list[Episode]:
    """The episodes of a suite.

    Args:
        suite: a name of `SUITES`, or a suite file (see `magma_sim.evaluation.episodes.write_suite_file`).

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
