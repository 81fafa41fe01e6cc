"""Rotations as numpy arrays: unit quaternions xyzw (as in ROS) and axis-angle vectors in radians.

Pure functions on small arrays; no simulator types. The only other quaternion order in this package is SAPIEN's
wxyz, which is converted in `magma_sim.backends.shared.poses` and nowhere else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def quaternion_from_axis_angle(rotation: FloatArray) -> FloatArray:
    """Axis-angle vector (3,) rad -> unit quaternion xyzw (4,). The zero vector is the identity."""
    rotation = np.asarray(rotation, dtype=np.float64)
    angle = float(np.linalg.norm(rotation))
    # sin(angle/2)/angle by its series near zero, where the quotient loses all digits.
    scale = 0.5 - angle**2 / 48.0 if angle < 1e-4 else np.sin(angle / 2.0) / angle
    return np.append(rotation * scale, np.cos(angle / 2.0))


def axis_angle_from_quaternion(quaternion_xyzw: FloatArray) -> FloatArray:
    """Unit quaternion xyzw (4,) -> axis-angle vector (3,) rad with an angle of at most pi."""
    quaternion = np.asarray(quaternion_xyzw, dtype=np.float64)
    if quaternion[3] < 0.0:
        quaternion = -quaternion
    sine = float(np.linalg.norm(quaternion[:3]))
    if sine < 1e-9:
        return 2.0 * quaternion[:3]
    return quaternion[:3] * (2.0 * np.arctan2(sine, quaternion[3]) / sine)


def multiply(left_xyzw: FloatArray, right_xyzw: FloatArray) -> FloatArray:
    """Hamilton product of two quaternions xyzw, normalised: the rotation `right` first, then `left`."""
    x1, y1, z1, w1 = left_xyzw
    x2, y2, z2, w2 = right_xyzw
    product = np.array(
        [
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        ]
    )
    return product / np.linalg.norm(product)


def conjugate(quaternion_xyzw: FloatArray) -> FloatArray:
    """The inverse rotation of a unit quaternion xyzw (4,)."""
    x, y, z, w = quaternion_xyzw
    return np.array([-x, -y, -z, w])


def matrix_from_quaternion(quaternion_xyzw: FloatArray) -> FloatArray:
    """Unit quaternion xyzw (4,) -> rotation matrix (3, 3)."""
    x, y, z, w = quaternion_xyzw
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotate(quaternion_xyzw: FloatArray, vector: FloatArray) -> FloatArray:
    """Rotates a vector (3,) by a unit quaternion xyzw (4,)."""
    return matrix_from_quaternion(quaternion_xyzw) @ np.asarray(vector, dtype=np.float64)


def quaternion_from_yaw(yaw_rad: float) -> FloatArray:
    """Rotation by `yaw_rad` about z as a quaternion xyzw (4,)."""
    return np.array([0.0, 0.0, np.sin(yaw_rad / 2.0), np.cos(yaw_rad / 2.0)])


def yaw_from_quaternion(quaternion_xyzw: FloatArray) -> float:
    """Heading of the rotated x axis in the xy plane, radians in (-pi, pi]."""
    x, y, z, w = quaternion_xyzw
    return float(np.arctan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z)))
