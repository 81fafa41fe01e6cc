"""Simulated tasks, scripted experts and demonstrations for the Magma control stack. No ROS, no policy code.

`make_task("carrot_on_plate")` gives a `Task`; see `magma_sim.task` for units and frames.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable

from magma_sim.task import EndEffectorState, Observation, SimulatorUnavailableError, Task, TaskSpec, Variant

__all__ = [
    "EndEffectorState",
    "Observation",
    "SimulatorUnavailableError",
    "Task",
    "TaskSpec",
    "Variant",
    "make_task",
    "suite_tasks",
]

# Backends are imported when they are needed: SAPIEN and ManiSkill take seconds to load.


def _tabletop() -> tuple[tuple[str, ...], Callable[..., Task]]:
    from magma_sim.backends.tabletop.objects import TASKS

    def make(name: str, *, images: bool = True, perturbation: str | None = None) -> Task:
        from magma_sim.backends.tabletop.perturbed_task import PerturbedTask
        from magma_sim.backends.tabletop.task import TabletopTask

        if perturbation is not None:
            return PerturbedTask(name, perturbation, images=images)
        return TabletopTask(name, images=images)

    return TASKS, make


def _simpler_bridge() -> tuple[tuple[str, ...], Callable[..., Task]]:
    from magma_sim.backends.simpler_bridge.goals import TASKS

    def make(name: str, *, images: bool = True, image_size: tuple[int, int] = (128, 128)) -> Task:
        from magma_sim.backends.simpler_bridge.task import BridgeTask

        return BridgeTask(name, images=images, image_size=image_size)

    return TASKS, make


def _simpler_original() -> tuple[tuple[str, ...], Callable[..., Task]]:
    from magma_sim.backends.simpler_original.names import PREFIX, TASKS

    def make(name: str, *, images: bool = True, **options: object) -> Task:
        from magma_sim.backends.simpler_original.task import SimplerTask

        return SimplerTask(name.removeprefix(PREFIX), images=images, options=options)

    return tuple(PREFIX + task for task in TASKS), make


_SUITES: dict[str, Callable[[], tuple[tuple[str, ...], Callable[..., Task]]]] = {
    "tabletop": _tabletop,
    "simpler-bridge": _simpler_bridge,
    "simpler": _simpler_original,
}


def suite_tasks() -> dict[str, tuple[str, ...]]:
    """Suite -> names of its tasks, without loading a simulator."""
    return {suite: load()[0] for suite, load in _SUITES.items()}


def make_task(name: str, **options: object) -> Task:
    """Makes a task of any suite by its name; see `suite_tasks`.

    Args:
        name: such as carrot_on_plate (suite `tabletop`) or widowx_carrot_on_plate (suite `simpler-bridge`).
        options: `images=False` for physics without rendering, which needs no Vulkan device; in `tabletop` also
            `perturbation`, a name of `magma_sim.backends.tabletop.perturbations`; in `simpler-bridge`
            `image_size=(height, width)`, 128 x 128 unless given, (480, 640) as in published evaluations; in `simpler`
            the fields of `magma_sim.simpler_options.SimplerOptions`.

    Raises:
        ValueError: unknown task or option; the message names those like it, or lists all.
        SimulatorUnavailableError: no Vulkan device can render, the suite's data files are not on this machine, or the
            original SimplerEnv is not set up here; the message names the remedy.
    """
    for load in _SUITES.values():
        tasks, make = load()
        if name in tasks:
            parameters = inspect.signature(make).parameters.values()
            known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
            unknown = sorted(set(options) - set(known))
            if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                raise ValueError(f"task {name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
            return make(name, **options)
    every = [task for tasks in suite_tasks().values() for task in tasks]
    near = difflib.get_close_matches(name, every, n=3)
    if near:
        raise ValueError(f"unknown task {name!r}; did you mean {' or '.join(near)}?")
    suites = "; ".join(f"{suite}: {', '.join(tasks)}" for suite, tasks in suite_tasks().items())
    raise ValueError(f"unknown task {name!r}; there are {suites}")
