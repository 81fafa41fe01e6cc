"""The WidowX of BridgeData V2."""

from __future__ import annotations

import numpy as np

from magma_policy.embodiments.adapter import SIMPLER_IMAGE_SIDE, AdaptedAction, Adapter
from magma_policy.embodiments.euler_angles import euler_motion, euler_values


class WidowXAdapter(Adapter):
    """BridgeData V2 on a WidowX: Euler angles; the gripper is open above one half, closed otherwise."""

    image_side = SIMPLER_IMAGE_SIDE

    def adapt(self, values: np.ndarray) -> AdaptedAction:
        motion = euler_motion(values)
        opening = 1.0 if values[6] > 0.5 else 0.0
        return AdaptedAction(np.append(motion, opening), np.append(motion, 2.0 * opening - 1.0))

    def encode(self, deltas: np.ndarray) -> np.ndarray:
        return euler_values(deltas)
