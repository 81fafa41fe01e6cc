"""Open X-Embodiment data code rotations as static x y z Euler angles; here they are rotation vectors."""

from __future__ import annotations

import math

import numpy as np


def rotation_vector(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Rotation vector (3,) of Rz(yaw) Ry(pitch) Rx(roll), angle in 0..pi (rad); static x y z Euler angles."""
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a / 2), math.sin(a / 2)) for a in (roll, pitch, yaw))
    w = cr * cp * cy + sr * sp * sy
    axis = np.array([sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy])
    length = float(np.linalg.norm(axis))
    if length < 1e-12:
        return np.zeros(3)
    # Both signs of a quaternion are the same rotation; the shorter way round is the one below pi.
    return axis / length * (2.0 * math.atan2(length, abs(w))) * (1.0 if w >= 0 else -1.0)


def euler_angles(rotation: np.ndarray) -> np.ndarray:
    """Static x y z Euler angles (N, 3), rad, of rotation vectors (N, 3): the inverse of `rotation_vector`.

    Pitch lies in -pi/2..pi/2; at its ends only the sum or difference of roll and yaw is defined, and roll is 0.
    """
    rotation = np.asarray(rotation, dtype=np.float64)
    angle = np.linalg.norm(rotation, axis=1)
    # sin(angle / 2) / angle, which is 1/2 at 0.
    scale = 0.5 * np.sinc(angle / (2.0 * math.pi))
    w = np.cos(angle / 2.0)
    x, y, z = (rotation * scale[:, None]).T
    sine = np.clip(2.0 * (w * y - z * x), -1.0, 1.0)
    roll = np.arctan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))
    yaw = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    edge = np.abs(sine) > 1.0 - 1e-9
    roll = np.where(edge, 0.0, roll)
    yaw = np.where(edge, np.arctan2(-2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z)), yaw)
    return np.stack([roll, np.arcsin(sine), yaw], axis=1)


def euler_motion(values: np.ndarray) -> np.ndarray:
    """Model values (7,) with roll, pitch, yaw to translation and rotation vector (6,)."""
    return np.concatenate([np.asarray(values[:3], dtype=np.float64), rotation_vector(*map(float, values[3:6]))])


def euler_values(deltas: np.ndarray) -> np.ndarray:
    """Deltas (N, 7) with rotation vectors to model values (N, 7) with roll, pitch, yaw."""
    deltas = np.asarray(deltas, dtype=np.float64)
    return np.concatenate([deltas[:, :3], euler_angles(deltas[:, 3:6]), deltas[:, 6:]], axis=1)
