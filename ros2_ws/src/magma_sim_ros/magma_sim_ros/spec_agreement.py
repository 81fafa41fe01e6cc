"""Does a policy mean by its actions what the simulated arm understands?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from magma_contracts.action_spec import ActionSpec

if TYPE_CHECKING:
    from magma_sim import TaskSpec


def disagreement(policy: ActionSpec, task: TaskSpec) -> str | None:
    """Which field of the policy's spec does not fit the task, with both values; None when all agree."""
    if not math.isclose(policy.step_period_s, task.step_period_s, rel_tol=1e-6):
        return f"step_period_s: policy {policy.policy} has {policy.step_period_s:g}, the task {task.step_period_s:g}"
    for name in ("frame", "rotation", "gripper", "camera"):
        ours, theirs = getattr(task, name), getattr(policy, name)
        if ours != theirs:
            return f"{name}: policy {policy.policy} has {theirs!r}, the task {ours!r}"
    return None
