"""The way of an arm's target back to where the arm is: what a re-arm owes, once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_contracts.actions import GRIPPER, ROTATION, TRANSLATION
from magma_contracts.arm_state import EndEffectorState
from magma_contracts.geometry.motions import then
from magma_contracts.geometry.rotations import axis_angle_from_quaternion, conjugate, multiply

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StepSize:
    """How far one command may go."""

    translation_m: float
    rotation_rad: float

    def holds(self, delta: FloatArray) -> bool:
        """Whether a delta (7,) goes no farther."""
        return (
            float(np.linalg.norm(delta[TRANSLATION])) <= self.translation_m
            and float(np.linalg.norm(delta[ROTATION])) <= self.rotation_rad
        )


@dataclass(frozen=True)
class WayBack:
    """What still lies between the arm's target and the pose at which the arm was measured when motion began again.

    It is measured once: what the arm's weight or a wall does to its measured pose afterwards is not added to it.
    """

    offset: FloatArray
    """(6,) m and rad, base frame"""

    @classmethod
    def of(cls, state: EndEffectorState) -> WayBack:
        """From the target to the measured pose of a report."""
        turned = multiply(state.quaternion_xyzw, conjugate(state.target_quaternion_xyzw))
        return cls(np.concatenate([state.position - state.target_position, axis_angle_from_quaternion(turned)]))

    def take(self, delta: FloatArray, step: StepSize) -> tuple[FloatArray, WayBack | None]:
        """The command that goes back, and on from there where there is room for it.

        The whole way is gone, however much motions are slowed down; where it is longer than a step it takes several
        commands, and nothing else moves before it is done.

        Args:
            delta: (7,) what is wanted from the measured pose on, within every limit.
            step: the longest step now.

        Returns:
            The command (7,), and what is left of the way afterwards, or None.
        """
        back = np.append(self.offset, delta[GRIPPER])
        both = np.append(then(self.offset, delta[:GRIPPER]), delta[GRIPPER])
        if step.holds(both):
            return both, None
        length_m, angle_rad = (float(np.linalg.norm(self.offset[part])) for part in (TRANSLATION, ROTATION))
        share = min(
            1.0,
            step.translation_m / length_m if length_m > 0.0 else 1.0,
            step.rotation_rad / angle_rad if angle_rad > 0.0 else 1.0,
        )
        back[:GRIPPER] *= share
        return back, WayBack((1.0 - share) * self.offset) if share < 1.0 else None
