"""Unit quaternions xyzw (as in ROS) and axis-angle vectors in radians, as small numpy arrays.

Formulas: J. Sola, "Quaternion kinematics for the error-state Kalman filter", arXiv:1711.02508, sections 1 and 2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def quaternion_from_axis_angle(rotation: ArrayLike) -> FloatArray:
    """Axis-angle vector (3,) rad -> unit quaternion xyzw (4,). The zero vector is the identity."""
    vector = np.asarray(rotation, dtype=np.float64)
    angle = float(np.linalg.norm(vector))
    # Near zero sin(angle/2)/angle loses its digits; its series does not.
    scale = 0.5 - angle * angle / 48.0 if angle < 1e-4 else np.sin(0.5 * angle) / angle
    return np.append(scale * vector, np.cos(0.5 * angle))


def axis_angle_from_quaternion(quaternion_xyzw: ArrayLike) -> FloatArray:
    """Unit quaternion xyzw (4,) -> axis-angle vector (3,) rad, the shorter way round (at most pi)."""
    quaternion = np.asarray(quaternion_xyzw, dtype=np.float64)
    if quaternion[3] < 0.0:
        quaternion = -quaternion
    sine = float(np.linalg.norm(quaternion[:3]))
    if sine < 1e-9:
        return 2.0 * quaternion[:3]
    return (2.0 * np.arctan2(sine, quaternion[3]) / sine) * quaternion[:3]


def multiply(left_xyzw: ArrayLike, right_xyzw: ArrayLike) -> FloatArray:
    """Hamilton product, normalised: the rotation that does `right` first and `left` after it."""
    left = np.asarray(left_xyzw, dtype=np.float64)
    right = np.asarray(right_xyzw, dtype=np.float64)
    # Between chunk and command: numbers of Python cost a tenth of arrays of three. The sums are in the order of
    # `w1 v2 + w2 v1 + v1 x v2` with arrays, whose bits journals and their replays hold.
    x1, y1, z1, w1 = left.tolist()
    x2, y2, z2, w2 = right.tolist()
    product = np.array(
        [
            w1 * x2 + w2 * x1 + (y1 * z2 - z1 * y2),
            w1 * y2 + w2 * y1 + (z1 * x2 - x1 * z2),
            w1 * z2 + w2 * z1 + (x1 * y2 - y1 * x2),
            w1 * w2 - float(left[:3] @ right[:3]),
        ]
    )
    return product / math.sqrt(product @ product)


def multiply_left_to_right(left_xyzw: ArrayLike, right_xyzw: ArrayLike) -> FloatArray:
    """As `multiply`, but each number is summed from left to right, which rounds the last bit otherwise.

    The simulated tasks' layouts, demonstrations and results were made with it, the controller's journals with
    `multiply`; both are compared to the bit.
    """
    x1, y1, z1, w1 = np.asarray(left_xyzw, dtype=np.float64)
    x2, y2, z2, w2 = np.asarray(right_xyzw, dtype=np.float64)
    product = np.array(
        [
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        ]
    )
    return product / np.linalg.norm(product)


def conjugate(quaternion_xyzw: ArrayLike) -> FloatArray:
    """The inverse of a unit quaternion xyzw (4,)."""
    quaternion = np.array(quaternion_xyzw, dtype=np.float64)
    quaternion[:3] *= -1.0
    return quaternion


def matrix_from_quaternion(quaternion_xyzw: ArrayLike) -> FloatArray:
    """Unit quaternion xyzw (4,) -> rotation matrix (3, 3)."""
    x, y, z, w = (float(value) for value in np.asarray(quaternion_xyzw, dtype=np.float64))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def matrix_from_axis_angle(rotation: ArrayLike) -> FloatArray:
    """Axis-angle vector (3,) rad -> rotation matrix (3, 3)."""
    return matrix_from_quaternion(quaternion_from_axis_angle(rotation))


def quaternion_from_matrix(matrix: FloatArray) -> FloatArray:
    """Rotation matrix (3, 3) -> unit quaternion xyzw (4,), w not negative.

    Shepperd, "Quaternion from rotation matrix", Journal of Guidance and Control 1(3), 1978: the largest of the four
    squares decides, so that no division is by a small number.
    """
    m = matrix
    squares = np.array(
        [
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
            1 + m[0, 0] + m[1, 1] + m[2, 2],
        ]
    )
    best = int(np.argmax(squares))
    rows = (
        (squares[0], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]),
        (m[0, 1] + m[1, 0], squares[1], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]),
        (m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], squares[2], m[1, 0] - m[0, 1]),
        (m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]),
    )
    quaternion = np.array(rows[best])
    quaternion /= np.linalg.norm(quaternion)
    return -quaternion if quaternion[3] < 0.0 else quaternion


def axis_angle_from_matrix(matrix: FloatArray) -> FloatArray:
    """Rotation matrix (3, 3) -> axis-angle vector (3,) rad, at most pi long."""
    return axis_angle_from_quaternion(quaternion_from_matrix(matrix))


def rotate(quaternion_xyzw: ArrayLike, vector: ArrayLike) -> FloatArray:
    """Rotates a vector (3,) by a unit quaternion xyzw (4,)."""
    return matrix_from_quaternion(quaternion_xyzw) @ np.asarray(vector, dtype=np.float64)


def quaternion_from_yaw(yaw_rad: float) -> FloatArray:
    """Rotation by `yaw_rad` about z as a quaternion xyzw (4,)."""
    return np.array([0.0, 0.0, np.sin(yaw_rad / 2.0), np.cos(yaw_rad / 2.0)])


def yaw_from_quaternion(quaternion_xyzw: ArrayLike) -> float:
    """Heading of the rotated x axis in the xy plane, radians in (-pi, pi]."""
    x, y, z, w = np.asarray(quaternion_xyzw, dtype=np.float64)
    return float(np.arctan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z)))
