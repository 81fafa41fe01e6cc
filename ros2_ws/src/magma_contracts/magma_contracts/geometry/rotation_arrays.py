"""What `rotations` has, for many at a time: a row each of unit quaternions xyzw and of axis-angle vectors in radians.

Nothing is normalised: whole data sets are, once, where they are read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def multiply(left: FloatArray, right: FloatArray) -> FloatArray:
    """Hamilton products (T, 4) xyzw: `right` first, `left` after it."""
    vector = left[:, 3:] * right[:, :3] + right[:, 3:] * left[:, :3] + np.cross(left[:, :3], right[:, :3])
    scalar = left[:, 3] * right[:, 3] - (left[:, :3] * right[:, :3]).sum(axis=1)
    return np.concatenate([vector, scalar[:, None]], axis=1)


def conjugate(quaternion: FloatArray) -> FloatArray:
    """Inverses (T, 4) of unit quaternions xyzw."""
    return quaternion * np.array([-1.0, -1.0, -1.0, 1.0])


def rotate(quaternion: FloatArray, vectors: FloatArray) -> FloatArray:
    """Vectors (T, 3), each rotated by its unit quaternion xyzw (T, 4)."""
    turned = np.cross(quaternion[:, :3], vectors) * 2.0
    return vectors + quaternion[:, 3:] * turned + np.cross(quaternion[:, :3], turned)


def axis_angle_from_quaternion(quaternion: FloatArray) -> FloatArray:
    """Axis-angle vectors (T, 3) rad of unit quaternions xyzw (T, 4), the shorter way round."""
    q = np.where(quaternion[:, 3:] < 0.0, -quaternion, quaternion)
    sine = np.linalg.norm(q[:, :3], axis=1, keepdims=True)
    small = sine < 1e-9
    scale = np.where(small, 2.0, 2.0 * np.arctan2(sine, q[:, 3:]) / np.where(small, 1.0, sine))
    return scale * q[:, :3]


def quaternion_from_axis_angle(vectors: FloatArray) -> FloatArray:
    """Unit quaternions xyzw (T, 4) of axis-angle vectors (T, 3) rad."""
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.concatenate([vectors * 0.5 * np.sinc(angle / (2.0 * np.pi)), np.cos(angle / 2.0)], axis=1)
