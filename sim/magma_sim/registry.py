"""The one list of tasks: every backend with its tasks, their robots and their experts, without loading a simulator."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Iterable

from magma_eval.version import folders_digest
from magma_sim.tasks.backend import Backend, TaskEntry
from magma_sim.tasks.interface import Task
from magma_sim.tasks.skill import Skill


@functools.cache
def backends() -> tuple[Backend, ...]:
    """Every backend. A new one is a folder in `backends` and a line here."""
    from magma_sim.backends.simpler_bridge.backend import BACKEND as SIMPLER_BRIDGE
    from magma_sim.backends.simpler_original.backend import BACKEND as SIMPLER_ORIGINAL
    from magma_sim.backends.tabletop.backend import BACKEND as TABLETOP

    return TABLETOP, SIMPLER_BRIDGE, SIMPLER_ORIGINAL


def entries() -> dict[str, TaskEntry]:
    """Every task by its name."""
    return {task.name: task for backend in backends() for task in backend.tasks}


def suite_tasks() -> dict[str, tuple[str, ...]]:
    """Backend -> names of its tasks."""
    return {backend.name: tuple(task.name for task in backend.tasks) for backend in backends()}


def backend_of(task: str) -> Backend:
    """The backend that makes a task; ValueError when there is none, naming those like it, or all."""
    for backend in backends():
        if any(entry.name == task for entry in backend.tasks):
            return backend
    near = difflib.get_close_matches(task, entries(), n=3)
    if near:
        raise ValueError(f"unknown task {task!r}; did you mean {' or '.join(near)}?")
    suites = "; ".join(f"{suite}: {', '.join(tasks)}" for suite, tasks in suite_tasks().items())
    raise ValueError(f"unknown task {task!r}; there are {suites}")


def suite_of(task: str) -> str:
    """The name of a task's backend; ValueError when there is none."""
    return backend_of(task).name


def robot_of(task: str) -> str:
    """Arm and camera of a task, as checkpoints name them; "" where its options decide. ValueError: unknown task."""
    backend_of(task)
    return entries()[task].robot


def check_task(name: str) -> None:
    """What is known of a task before its simulator is loaded.

    Raises:
        ValueError: unknown task.
        SimulatorUnavailableError: data files, or a simulator, are not on this machine; the message names the remedy.
    """
    backend_of(name).check()


def data_files(tasks: Iterable[str]) -> dict[str, str]:
    """Content of the data files of these tasks' backends, by backend; raises as `check_task`."""
    found = {}
    for backend in {id(backend): backend for backend in map(backend_of, tasks)}.values():
        if folders := backend.data():
            found[backend.name] = folders_digest(folders)
    return found


def make_task(name: str, **options: object) -> Task:
    """Makes a task of any backend by its name; see `suite_tasks`.

    Args:
        name: such as carrot_on_plate (suite `tabletop`) or widowx_carrot_on_plate (suite `simpler-bridge`).
        options: `images=False` for physics without rendering, which needs no Vulkan device; in `tabletop` also
            `perturbation`, a name of `magma_sim.backends.tabletop.perturbations`; in `simpler-bridge`
            `image_size=(height, width)`, 128 x 128 unless given, (480, 640) as in published evaluations; in `simpler`
            the fields of `magma_sim.backends.simpler_original.options.SimplerOptions`.

    Raises:
        ValueError: unknown task or option; the message names those like it, or lists all.
        SimulatorUnavailableError: no Vulkan device can render, the suite's data files are not on this machine, or the
            original SimplerEnv is not set up here; the message names the remedy.
    """
    backend = backend_of(name)
    make = backend.make
    parameters = inspect.signature(make).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    known += sorted(backend.options)
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"task {name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    backend.check()
    return make(name, **options)


def skills() -> dict[str, Skill]:
    """What experts know, by task."""
    every = entries()
    known = {name: every.get(entry.like, entry).skill for name, entry in every.items()}
    return {name: skill for name, skill in known.items() if skill is not None}


def skill_of(task: str) -> Skill:
    """The skill of a task that has an expert; ValueError when there is none, listing the tasks."""
    known = skills()
    if task not in known:
        raise ValueError(f"there is no expert for {task!r}; there are experts for {', '.join(known)}")
    return known[task]
