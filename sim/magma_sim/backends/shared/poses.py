"""Where this project's poses (quaternions xyzw, rotations as axis-angle in the base frame) meet SAPIEN's (wxyz)."""

from __future__ import annotations

import numpy as np
import sapien
from numpy.typing import NDArray

from magma_contracts.geometry.rotations import multiply_left_to_right, quaternion_from_axis_angle


def pose_to_sapien(position: NDArray[np.float64], quaternion_xyzw: NDArray[np.float64]) -> sapien.Pose:
    """(3,) m and xyzw (4,) -> sapien.Pose, which stores wxyz."""
    x, y, z, w = quaternion_xyzw
    return sapien.Pose(p=position, q=[w, x, y, z])


def pose_from_sapien(pose: sapien.Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """sapien.Pose -> position (3,) m and quaternion xyzw (4,), both float64, w not negative."""
    w, x, y, z = (float(v) for v in pose.q)
    quaternion = np.array([x, y, z, w])
    return np.asarray(pose.p, dtype=np.float64), -quaternion if w < 0 else quaternion


def apply_delta(
    position: NDArray[np.float64], quaternion_xyzw: NDArray[np.float64], action: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Target pose after one EndEffectorDelta: translation added, rotation applied on the left, both in the base frame.

    Args:
        position: (3,) m; quaternion_xyzw: (4,); action: (7,), of which the gripper is ignored.
    """
    return position + action[:3], multiply_left_to_right(quaternion_from_axis_angle(action[3:6]), quaternion_xyzw)
