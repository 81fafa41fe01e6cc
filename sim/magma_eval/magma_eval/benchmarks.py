"""Which tasks there are: every installed package that has an entry point in the group `magma_eval.tasks`.

The evaluator knows no simulator by name. A package of tasks puts into its pyproject.toml

    [project.entry-points."magma_eval.tasks"]
    my_tasks = "my_package.benchmark:BENCHMARK"

and there a `Benchmark`.
"""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magma_eval.episodes import Episode, Suite
from magma_eval.policies.interface import EpisodePolicy
from magma_eval.tasks import Task

if TYPE_CHECKING:
    # It asks for the names of benchmarks' policies.
    from magma_eval.policies.choice import PolicyChoice

GROUP = "magma_eval.tasks"


@dataclass(frozen=True)
class Benchmark:
    """The tasks of one package. Importing and making it loads no simulator."""

    tasks: tuple[str, ...]
    """names that `make_task` takes"""
    make_task: Callable[..., Task[Any]]
    """(name, *, images, **options) -> the task; ValueError says what is unknown, other errors what is missing"""
    check: Callable[[str], None] = lambda name: None
    """(name); RuntimeError says what a task lacks on this machine, as far as that is known without a simulator"""
    suites: tuple[Suite, ...] = ()
    scripted: Mapping[str, Callable[[Episode, int], EpisodePolicy]] = field(default_factory=dict)
    """policies without a model by name, made of the episode and the run's seed, such as `expert`"""
    checkpoints: Callable[[PolicyChoice], Callable[[Episode, int], EpisodePolicy]] | None = None
    """makes a checkpoint's policies in the worker's own process, for actions that no policy server answers with; None:
    checkpoints are asked through a server"""
    arms: bool = True
    """whether its tasks are those of an arm, which the robot's own graph can play too"""
    published: Path | None = None
    """file of rates that others published for these suites, see `magma_eval.report.published`"""
    sources: tuple[Path, ...] = ()
    """folders whose Python files decide how an episode goes"""
    distributions: tuple[str, ...] = ()
    """installed distributions, beside numpy, whose versions may change a result"""
    machine: Callable[[tuple[str, ...], bool], Mapping[str, str]] = lambda tasks, images: {}
    """(tasks, images) -> what else of a machine may change a result, by what it is: renderer, data files. Asked in the
    worker, where several machines play one run; may load the simulator"""
    factories: tuple[str, ...] = ()
    """names under which earlier results know `make_task`"""


@functools.cache
def benchmarks() -> tuple[Benchmark, ...]:
    """Every installed benchmark. One that cannot be loaded is warned of and left out."""
    found = []
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        try:
            benchmark = entry.load()
        except Exception as error:
            warnings.warn(f"the tasks of {entry.value} are left out: {type(error).__name__}: {error}", stacklevel=2)
            continue
        if not isinstance(benchmark, Benchmark):
            warnings.warn(f"the tasks of {entry.value} are left out: it is no Benchmark", stacklevel=2)
        elif benchmark not in found:
            found.append(benchmark)
    return tuple(found)


def benchmark_of(task: str) -> Benchmark | None:
    """The benchmark that makes a task, None where no installed one does: the task is then a factory's own."""
    return next((benchmark for benchmark in benchmarks() if task in benchmark.tasks), None)


def check_task(name: str) -> None:
    """RuntimeError when it is known already that this machine lacks something that a task needs; loads no simulator."""
    benchmark = benchmark_of(name)
    if benchmark is not None:
        benchmark.check(name)


def make_task(name: str, **options: object) -> Task[Any]:
    """Makes a task of any installed benchmark.

    Args:
        name: of the task.
        options: `images` and whatever the task takes.

    Raises:
        ValueError: unknown task or option; the message names those like it, or lists all.
        Whatever the simulator raises.
    """
    benchmark = benchmark_of(name)
    if benchmark is not None:
        return benchmark.make_task(name, **options)
    every = [task for known in benchmarks() for task in known.tasks]
    near = difflib.get_close_matches(name, every, n=3)
    if near:
        raise ValueError(f"unknown task {name!r}; did you mean {' or '.join(near)}?")
    raise ValueError(f"unknown task {name!r}; there are {', '.join(every) or 'none: no package of tasks is installed'}")
