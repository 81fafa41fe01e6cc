"""The suites of SimplerEnv's Bridge tasks on ManiSkill 3."""

from __future__ import annotations

from magma_eval.episodes import Suite
from magma_sim.backends.shared.suites import evaluation, validation
from magma_sim.backends.simpler_bridge.goals import GOALS, SUITE
from magma_sim.backends.simpler_bridge.layouts import EVALUATION_LAYOUTS

BRIDGE_TASKS = tuple(goal.task for goal in sorted(GOALS.values(), key=lambda goal: goal.place))
"""in SimplerEnv's own order"""

SUITES = (
    Suite(
        SUITE,
        "SimplerEnv's 4 Bridge tasks on ManiSkill 3, 24 episodes each",
        lambda: evaluation(SUITE, BRIDGE_TASKS, EVALUATION_LAYOUTS),
        published_as="simpler-widowx",  # the tasks are the same on both simulators, and so are their names
    ),
    Suite(
        "simpler-bridge-validation",
        "SimplerEnv's 4 Bridge tasks on random layouts, for choosing a checkpoint; never trained on",
        lambda: validation("simpler-bridge-validation", BRIDGE_TASKS),
    ),
)
