"""SimplerEnv's Bridge tasks on ManiSkill 3, as the registry lists them."""

from __future__ import annotations

from magma_sim.backends.simpler_bridge.assets import DATA_SET, ROBOT, check_assets, data_folder
from magma_sim.backends.simpler_bridge.goals import GOALS, ROBOTS, SUITE
from magma_sim.backends.simpler_bridge.layouts import OFFICIAL_CLEARANCE_M, RANDOM_STREAM
from magma_sim.backends.simpler_bridge.skills import SKILLS
from magma_sim.tasks.backend import Backend, TaskEntry
from magma_sim.tasks.interface import Task


def _make(name: str, *, images: bool = True, image_size: tuple[int, int] = (128, 128)) -> Task:
    # SAPIEN and ManiSkill take seconds to load.
    from magma_sim.backends.simpler_bridge.task import BridgeTask

    return BridgeTask(name, images=images, image_size=image_size)


BACKEND = Backend(
    name=SUITE,
    tasks=tuple(
        TaskEntry(goal.task, goal.instruction, ROBOTS[goal.setting], SKILLS[goal.task]) for goal in GOALS.values()
    ),
    make=_make,
    check=lambda: check_assets(data_folder()),
    data=lambda: (data_folder() / DATA_SET, data_folder() / ROBOT),
    layout_streams={"layout_stream": RANDOM_STREAM, "distance_to_official_episodes_m": OFFICIAL_CLEARANCE_M},
)
