"""The built-in tasks, as the registry lists them."""

from __future__ import annotations

from magma_sim.backends.tabletop.layouts import STREAMS
from magma_sim.backends.tabletop.objects import GOALS, ROBOT, SUITE
from magma_sim.backends.tabletop.skills import SKILLS
from magma_sim.tasks.backend import Backend, TaskEntry
from magma_sim.tasks.interface import Task


def _make(name: str, *, images: bool = True, perturbation: str | None = None) -> Task:
    # SAPIEN and ManiSkill take seconds to load.
    from magma_sim.backends.tabletop.perturbed_task import PerturbedTask
    from magma_sim.backends.tabletop.task import TabletopTask

    if perturbation is not None:
        return PerturbedTask(name, perturbation, images=images)
    return TabletopTask(name, images=images)


BACKEND = Backend(
    name=SUITE,
    tasks=tuple(TaskEntry(goal.task, goal.instruction, ROBOT, SKILLS[goal.task]) for goal in GOALS.values()),
    make=_make,
    layout_streams={"layout_stream": STREAMS["random"], "evaluation_layout_stream": STREAMS["eval"]},
)
