"""Whether the goal of a tabletop task holds: the source rests on or in its target, released and still.

In the spirit of SimplerEnv's Bridge tasks (position of the source over the target, contact with it, not held by the
robot; https://github.com/simpler-env/SimplerEnv), evaluated anew after every step and never latched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.rotations import conjugate, rotate
from magma_sim.backends.tabletop.objects import (
    BASKET_INNER_HALF,
    BASKET_RIM_HEIGHT,
    OBJECTS,
    Goal,
)
from magma_sim.tasks.interface import Pose

STILL_LINEAR_M_S = 0.05
STILL_ANGULAR_RAD_S = 0.8
_HEIGHT_TOLERANCE_M = 0.012
_STACK_HEIGHT_TOLERANCE_M = 0.006


@dataclass(frozen=True)
class ContactFacts:
    """What the physics says about the source at one instant."""

    touches_target: bool
    touches_robot: bool
    linear_speed: float
    """m/s"""
    angular_speed: float
    """rad/s"""


def _offset_in_target(source: Pose, target: Pose) -> NDArray[np.float64]:
    return rotate(conjugate(target[1]), source[0] - target[0])


def _on_plate(offset: NDArray[np.float64]) -> bool:
    return bool(np.hypot(*offset[:2]) <= OBJECTS["plate"].footprint_half[0] - 0.01)


def _on_towel(offset: NDArray[np.float64]) -> bool:
    return bool((np.abs(offset[:2]) <= OBJECTS["towel"].footprint_half).all())


def _on_block(offset: NDArray[np.float64]) -> bool:
    return bool((np.abs(offset[:2]) <= OBJECTS["yellow_block"].footprint_half).all())


def _in_basket(offset: NDArray[np.float64]) -> bool:
    return bool((np.abs(offset[:2]) <= BASKET_INNER_HALF).all())


_WITHIN: dict[str, Callable[[NDArray[np.float64]], bool]] = {
    "plate": _on_plate,
    "towel": _on_towel,
    "yellow_block": _on_block,
    "basket": _in_basket,
}


def placed(goal: Goal, object_poses: Mapping[str, Pose]) -> bool:
    """Whether the source's origin lies over its target at the height at which it rests there.

    Uses poses only, so that an expert with poses from elsewhere (tf) can ask too.
    """
    source, target = object_poses[goal.source], object_poses[goal.target]
    offset = _offset_in_target(source, target)
    if not _WITHIN[goal.target](offset):
        return False
    model = OBJECTS[goal.target]
    top = model.support_height - model.rest_height
    if goal.target == "basket":
        return bool(offset[2] <= BASKET_RIM_HEIGHT)
    tolerance = _STACK_HEIGHT_TOLERANCE_M if goal.target == "yellow_block" else _HEIGHT_TOLERANCE_M
    return bool(abs(offset[2] - top - OBJECTS[goal.source].rest_height) <= tolerance)


def succeeded(goal: Goal, object_poses: Mapping[str, Pose], contact: ContactFacts) -> bool:
    """Whether the goal holds now: `placed`, resting on the target, touched by no link of the robot, and still."""
    return (
        placed(goal, object_poses)
        and contact.touches_target
        and not contact.touches_robot
        and contact.linear_speed <= STILL_LINEAR_M_S
        and contact.angular_speed <= STILL_ANGULAR_RAD_S
    )
