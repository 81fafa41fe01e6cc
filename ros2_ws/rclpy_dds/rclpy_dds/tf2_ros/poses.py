"""Rigid transforms as plain numbers: translation in metres and a unit quaternion in the order x, y, z, w."""

import math
from typing import Any, NamedTuple


class Pose(NamedTuple):
    """A rigid transform: rotate, then translate."""

    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]


IDENTITY = Pose((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))

# Above this cosine two rotations are so close that the arc is taken for a straight line.
_SLERP_LINEAR_COSINE = 1.0 - 1e-9


def pose_of_message(transform: Any) -> Pose:
    """Return the pose of a ``geometry_msgs.msg.Transform``."""
    translation, rotation = transform.translation, transform.rotation
    return Pose((translation.x, translation.y, translation.z), (rotation.x, rotation.y, rotation.z, rotation.w))


def rotate(rotation: tuple, vector: tuple) -> tuple[float, float, float]:
    """Rotate a vector by a quaternion."""
    x, y, z, w = rotation
    vx, vy, vz = vector
    # v + 2 w (q x v) + 2 q x (q x v)
    cx, cy, cz = y * vz - z * vy, z * vx - x * vz, x * vy - y * vx
    return (
        vx + 2.0 * (w * cx + y * cz - z * cy),
        vy + 2.0 * (w * cy + z * cx - x * cz),
        vz + 2.0 * (w * cz + x * cy - y * cx),
    )


def multiply(one: tuple, other: tuple) -> tuple[float, float, float, float]:
    """Return the product of two quaternions: first ``other``, then ``one``."""
    ax, ay, az, aw = one
    bx, by, bz, bw = other
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def normalize(rotation: tuple) -> tuple[float, float, float, float]:
    """Return the unit quaternion in the direction of ``rotation``."""
    length = math.sqrt(sum(value * value for value in rotation))
    x, y, z, w = (value / length for value in rotation)
    return x, y, z, w


def compose(outer: Pose, inner: Pose) -> Pose:
    """Return the transform that applies ``inner`` first and ``outer`` to the result."""
    x, y, z = rotate(outer.rotation, inner.translation)
    ox, oy, oz = outer.translation
    return Pose((ox + x, oy + y, oz + z), multiply(outer.rotation, inner.rotation))


def inverse(pose: Pose) -> Pose:
    """Return the inverse transform."""
    x, y, z, w = pose.rotation
    rotation = (-x, -y, -z, w)
    tx, ty, tz = rotate(rotation, pose.translation)
    return Pose((-tx, -ty, -tz), rotation)


def interpolate(one: Pose, other: Pose, ratio: float) -> Pose:
    """Return the pose between two: linear in translation, along the shorter arc in rotation (slerp).

    Args:
        one: pose at ratio 0.
        other: pose at ratio 1.
        ratio: from 0 to 1.
    """
    ax, ay, az = one.translation
    bx, by, bz = other.translation
    translation = (ax + (bx - ax) * ratio, ay + (by - ay) * ratio, az + (bz - az) * ratio)
    cosine = sum(a * b for a, b in zip(one.rotation, other.rotation, strict=True))
    sign = 1.0 if cosine >= 0 else -1.0
    cosine = abs(cosine)
    if cosine > _SLERP_LINEAR_COSINE:
        first, second = 1.0 - ratio, ratio
    else:
        angle = math.acos(cosine)
        first, second = math.sin((1.0 - ratio) * angle) / math.sin(angle), math.sin(ratio * angle) / math.sin(angle)
    mixed = tuple(first * a + sign * second * b for a, b in zip(one.rotation, other.rotation, strict=True))
    return Pose(translation, normalize(mixed))
