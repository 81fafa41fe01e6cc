"""Motions of a pose, one after the other: a translation in metres and an axis-angle vector in radians, (6,), both in
the base frame. The translation is added to the position, the rotation is applied on the left of the orientation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from magma_contracts.actions import GRIPPER, ROTATION, TRANSLATION
from magma_contracts.geometry.rotations import (
    axis_angle_from_quaternion,
    conjugate,
    multiply,
    quaternion_from_axis_angle,
)

FloatArray = NDArray[np.float64]


def then(first: FloatArray, second: FloatArray) -> FloatArray:
    """The motion (6,) that does `first` (6,) and `second` (6,) after it."""
    turned = multiply(quaternion_from_axis_angle(second[ROTATION]), quaternion_from_axis_angle(first[ROTATION]))
    return np.concatenate([first[TRANSLATION] + second[TRANSLATION], axis_angle_from_quaternion(turned)])


def total(deltas: FloatArray) -> FloatArray:
    """The motion (6,) of deltas (n, 7), one after the other."""
    motion = np.zeros(GRIPPER)
    for delta in deltas:
        motion = then(motion, delta[:GRIPPER])
    return motion


def missing(wanted: FloatArray, done: FloatArray) -> FloatArray:
    """The motion (6,) that after `done` (6,) leads to where `wanted` (6,) leads from the beginning."""
    turned = multiply(
        quaternion_from_axis_angle(wanted[ROTATION]), conjugate(quaternion_from_axis_angle(done[ROTATION]))
    )
    return np.concatenate([wanted[TRANSLATION] - done[TRANSLATION], axis_angle_from_quaternion(turned)])
