"""Google's robot of the RT-1 data."""

from __future__ import annotations

import numpy as np

from magma_policy.embodiments.adapter import SIMPLER_IMAGE_SIDE, AdaptedAction, Adapter
from magma_policy.embodiments.euler_angles import euler_motion, euler_values

# Control steps for which the Google robot's gripper repeats a command once it has started, in the published evaluation.
GOOGLE_STICKY_STEPS = 10


# A change of the opening that starts such a command.
GOOGLE_STICKY_CHANGE = 0.5


class GoogleRobotAdapter(Adapter):
    """RT-1 data on Google's robot: Euler angles; SimplerEnv's gripper is relative and sticky.

    `delta` has the model's own opening, limited to 0..1. `simpler` has what SimplerEnv wants: the previous opening less
    the present one (0 in an episode's first step, positive closes); a change of more than one half is repeated for
    `GOOGLE_STICKY_STEPS` steps, whatever the model says meanwhile.
    """

    image_side = SIMPLER_IMAGE_SIDE

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._previous: float | None = None
        self._latched: float | None = None
        self._repeats = 0

    def adapt(self, values: np.ndarray) -> AdaptedAction:
        motion, opening = euler_motion(values), float(values[6])
        relative = 0.0 if self._previous is None else self._previous - opening
        self._previous = opening
        if self._latched is None and abs(relative) > GOOGLE_STICKY_CHANGE:
            self._latched = relative
        if self._latched is not None:
            relative = self._latched
            self._repeats += 1
            if self._repeats == GOOGLE_STICKY_STEPS:
                self._latched, self._repeats = None, 0
        return AdaptedAction(np.append(motion, np.clip(opening, 0.0, 1.0)), np.append(motion, relative))

    def encode(self, deltas: np.ndarray) -> np.ndarray:
        return euler_values(deltas)
