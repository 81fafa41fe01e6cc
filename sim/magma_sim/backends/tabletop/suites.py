"""The suites of the built-in tasks."""

from __future__ import annotations

from magma_eval.episodes import Episode, Suite
from magma_sim.backends.shared.suites import evaluation, validation
from magma_sim.backends.tabletop.layouts import EVALUATION_LAYOUTS
from magma_sim.backends.tabletop.objects import TASKS
from magma_sim.backends.tabletop.perturbations import PERTURBATIONS


def _perturbed() -> list[Episode]:
    suite = "tabletop-perturbed"
    return [
        Episode(suite, task, change, layout, make=task, layout=layout, options={"perturbation": change}, factor=change)
        for change in PERTURBATIONS
        for task in TASKS
        for layout in range(EVALUATION_LAYOUTS)
    ]


SUITES = (
    Suite(
        "tabletop",
        "built in: Panda, 4 tasks, 24 layouts each",
        lambda: evaluation("tabletop", TASKS, EVALUATION_LAYOUTS),
    ),
    Suite(
        "tabletop-validation",
        "tabletop on random layouts, for choosing a checkpoint; never trained on",
        lambda: validation("tabletop-validation", TASKS),
    ),
    Suite(
        "tabletop-perturbed",
        "tabletop with one thing changed at a time: words, camera, light, objects; 10 x 96 episodes",
        _perturbed,
    ),
)
