"""Simulated tasks, scripted experts and demonstrations for the Magma control stack. No ROS, no policy code.

`make_task("carrot_on_plate")` gives a `Task`; see `magma_sim.tasks.interface` for units and frames.
"""

from magma_sim.registry import make_task, suite_tasks
from magma_sim.tasks.interface import Observation, SimulatorUnavailableError, Task, TaskSpec, Variant

__all__ = [
    "Observation",
    "SimulatorUnavailableError",
    "Task",
    "TaskSpec",
    "Variant",
    "make_task",
    "suite_tasks",
]
