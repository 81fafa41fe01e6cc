"""Suites that backends have alike: the evaluation layouts of every task, and random ones to choose a checkpoint by."""

from __future__ import annotations

from collections.abc import Iterable

from magma_eval.episodes import Episode
from magma_sim.tasks.validation import VALIDATION_EPISODES, VALIDATION_SEED


def evaluation(suite: str, tasks: Iterable[str], layouts: int) -> list[Episode]:
    """Every evaluation layout of every task."""
    return [
        Episode(suite, task, "eval", layout, make=task, layout=layout) for task in tasks for layout in range(layouts)
    ]


def validation(suite: str, tasks: Iterable[str]) -> list[Episode]:
    """The layouts by which a checkpoint may be chosen."""
    return [
        Episode(suite, task, "random", number, make=task, layout=VALIDATION_SEED + number, reset_variant="random")
        for task in tasks
        for number in range(VALIDATION_EPISODES)
    ]
