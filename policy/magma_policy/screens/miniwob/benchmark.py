"""These pages for the evaluator: what the entry point `magma_eval.tasks` of magma-policy names. Loads no browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magma_eval.benchmarks import Benchmark
from magma_eval.episodes import Episode, Suite
from magma_eval.policies.choice import PolicyChoice
from magma_policy.screens.miniwob.pages import LEARNED, TASKS
from magma_policy.screens.miniwob.scripted import SCRIPTED

_SCREENS = Path(__file__).parents[1]
EPISODES, EPISODES_LEARNED, EPISODES_CONTROL = 10, 40, 10
"""Of each task."""
_CONTROLS = ("grey_picture", "shuffled_words", "other_task")


def make_task(name: str, *, images: bool = True, **options: Any) -> Any:
    """A page as a task; see `magma_policy.screens.miniwob.task`."""
    if name not in TASKS:
        raise ValueError(f"unknown page {name!r}; there are {', '.join(TASKS)}")
    from magma_policy.errors import CommandError

    try:
        from magma_policy.screens.miniwob.task import MiniWobTask
    except ModuleNotFoundError as error:
        raise CommandError(f"{error}: pages need Playwright; run ./run setup screens") from error
    return MiniWobTask(name, images=images, **options)


def _checkpoints(choice: PolicyChoice) -> Any:
    from magma_policy.screens.miniwob.checkpoints import Checkpoints

    return Checkpoints(choice)


def _all() -> list[Episode]:
    return [_episode("miniwob", task, number) for task in TASKS for number in range(EPISODES)]


def _learned() -> list[Episode]:
    return [_episode("miniwob-learned", task, number) for task in LEARNED for number in range(EPISODES_LEARNED)]


def _controls() -> list[Episode]:
    return [
        Episode("miniwob-controls", task, control, number, task, number, {"control": control}, "eval", control)
        for control in _CONTROLS
        for task in LEARNED
        for number in range(EPISODES_CONTROL)
    ]


def _episode(suite: str, task: str, number: int) -> Episode:
    return Episode(suite, task, "eval", number, make=task, layout=number)


BENCHMARK = Benchmark(
    tasks=TASKS,
    make_task=make_task,
    suites=(
        Suite("miniwob", "MiniWoB++: all 130 pages in a browser, marks on the picture", _all),
        Suite("miniwob-learned", "MiniWoB++: the pages that a policy of this project is taught", _learned),
        Suite("miniwob-controls", "the same with a grey picture, shuffled words, or another page's task", _controls),
    ),
    scripted=SCRIPTED,
    checkpoints=_checkpoints,
    arms=False,
    sources=(_SCREENS, _SCREENS.parent / "marks"),
    distributions=("playwright", "pillow"),
)
