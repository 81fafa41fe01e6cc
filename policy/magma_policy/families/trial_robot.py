"""The robot of a checkpoint with random weights: meaningless motion, but small."""

from __future__ import annotations

import numpy as np

from magma_policy.embodiments.action_normalization import ActionStatistics
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.robots import Robot


def trial_robot(policy: str, side: int, step_period_s: float, bound: float, proprioception: bool = False) -> Robot:
    """A robot whose pictures have `side` pixels each way and whose motion per step stays within `bound` (m, rad)."""
    limits = np.full(7, bound)
    spec = ActionSpec(
        policy=policy,
        horizon=1,
        step_period_s=step_period_s,
        frame="base",
        rotation="axis_angle",
        gripper="absolute_open_1",
        statistics_key="random",
        camera="third_person",
        image_height=side,
        image_width=side,
        proprioception=proprioception,
    )
    bounds = ActionStatistics(tuple(map(float, -limits)), tuple(map(float, limits)), (True,) * 6 + (False,))
    return Robot(spec, bounds)
