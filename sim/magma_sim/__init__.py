"""Simulated tasks, scripted experts and demonstrations for the Magma control stack. No ROS, no policy code.

`make_task("carrot_on_plate")` gives a `Task`; see `magma_sim.task` for units and frames.
"""

from __future__ import annotations

from magma_sim.task import EndEffectorState, Observation, Task, TaskSpec, Variant

__all__ = ["EndEffectorState", "Observation", "Task", "TaskSpec", "Variant", "make_task"]


def make_task(name: str, *, images: bool = True) -> Task:
    """Makes a task of the built-in `tabletop` suite.

    Args:
        name: carrot_on_plate, spoon_on_towel, stack_blocks or eggplant_in_basket.
        images: False for physics without rendering, which needs no Vulkan device.

    Raises:
        ValueError: unknown task; the message lists the tasks.
        magma_sim.rendering.RenderingUnavailableError: no Vulkan device can render; the message names the remedy.
    """
    # Imported here because SAPIEN and ManiSkill take seconds to load.
    from magma_sim.backends.tabletop.task import TabletopTask

    return TabletopTask(name, images=images)
