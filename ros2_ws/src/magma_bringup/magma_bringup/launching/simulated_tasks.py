"""What launch files have to know of a simulated task before anything is started: from the one list of tasks.

Looked up only where there is a simulator: a robot's own computer has none installed. A task that nobody knows is left
to the simulator, which says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from magma_common.process.program import cannot_start


@contextmanager
def _needed() -> Iterator[None]:
    """What cannot be imported inside is told in a sentence (RuntimeError): a launch may run on a Python without it."""
    try:
        yield
    except ImportError as error:
        raise RuntimeError(cannot_start(error)) from None


def robot_of(task: str) -> str:
    """Arm and camera of a task, as a checkpoint of several robots names them; "" where nothing is known."""
    with _needed():
        from magma_sim.registry import entries

    entry = entries().get(task)
    return entry.robot if entry is not None else ""


def parameter_files(task: str, folder: Path) -> list[Path]:
    """The parameter file of a task's suite, such as simpler_bridge.yaml, where the folder has one."""
    with _needed():
        from magma_sim.registry import suite_tasks

    suites = [suite for suite, tasks in suite_tasks().items() if task in tasks]
    files = [folder / f"{suite.replace('-', '_')}.yaml" for suite in suites]
    return [path for path in files if path.exists()]


def first_task(suite: str, tasks: list[str]) -> str:
    """The task that a run of a suite begins with.

    Args:
        suite: of the evaluator.
        tasks: those of it that are chosen; none = all.

    Raises:
        ValueError: there is no such suite or task.
    """
    with _needed():
        from magma_eval.suites import select, suite_episodes

    return select(suite_episodes(suite), tasks=tuple(tasks))[0].make
