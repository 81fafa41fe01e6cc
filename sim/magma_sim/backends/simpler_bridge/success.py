"""SimplerEnv's rule for its Bridge tasks, as ManiSkill 3.0.1's port computes it (`BaseBridgeEnv._evaluate`).

The source's origin lies over the target's (within half the target's diagonal and 3 mm), higher than it and not higher
than the two half heights and a margin, and, where the task asks for it, pressed against it. It says nothing about
the gripper: a source that is held at the right place counts. Evaluated anew after every step, never latched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.rotations import rotate
from magma_sim.backends.simpler_bridge.goals import BridgeGoal

CONTACT_FORCE_N = 0.05
_RADIUS_MARGIN_M = 0.003


@dataclass(frozen=True)
class SuccessRule:
    """The rule of one episode; the sizes depend on how the objects lie after settling.

    Attributes:
        target_half, source_half: half of each bounding box (3,) m, turned as the object lay after settling. Turning a
            size like a point may make it negative; the port does so, and results are only comparable if we do too.
        needs_contact: whether a contact force is needed.
        height_margin_m: see `BridgeGoal`.
    """

    target_half: NDArray[np.float64]
    source_half: NDArray[np.float64]
    needs_contact: bool
    height_margin_m: float

    @staticmethod
    def after_settling(
        goal: BridgeGoal,
        source_size: NDArray[np.float64],
        source_quaternion_xyzw: NDArray[np.float64],
        target_size: NDArray[np.float64],
        target_quaternion_xyzw: NDArray[np.float64],
    ) -> SuccessRule:
        """The rule for bounding boxes of the given sizes (3,) m and the rotations (4,) of the settled objects."""
        return SuccessRule(
            target_half=rotate(target_quaternion_xyzw, target_size) / 2,
            source_half=rotate(source_quaternion_xyzw, source_size) / 2,
            needs_contact=goal.needs_contact,
            height_margin_m=goal.height_margin_m,
        )

    def holds(
        self, source_position: NDArray[np.float64], target_position: NDArray[np.float64], contact_force_n: float
    ) -> bool:
        """Whether the goal holds: positions (3,) m in any frame whose z points up, force between the two in N."""
        offset = source_position - target_position
        over = float(np.hypot(*offset[:2])) <= float(np.hypot(*self.target_half[:2])) + _RADIUS_MARGIN_M
        height = float(offset[2])
        on = height > 0.0 and height - self.target_half[2] - self.source_half[2] <= self.height_margin_m
        return bool(over and on and (not self.needs_contact or contact_force_n > CONTACT_FORCE_N))
