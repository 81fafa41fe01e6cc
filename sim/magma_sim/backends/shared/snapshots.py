"""Where everything that moves in a SAPIEN world is, as one vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sapien
from numpy.typing import NDArray

_POSE = 7


def take_snapshot(robot: sapien.physx.PhysxArticulation, bodies: Sequence[sapien.Entity]) -> NDArray[np.float64]:
    """The robot's joint positions, then position and quaternion wxyz of each body: float64 (J + 7 B,)."""
    poses = [np.concatenate([body.pose.p, body.pose.q]) for body in bodies]
    return np.concatenate([robot.qpos, *poses]).astype(np.float64)


def show_snapshot(
    snapshot: NDArray[np.float64], robot: sapien.physx.PhysxArticulation, bodies: Sequence[sapien.Entity]
) -> None:
    """Puts robot and bodies where they were.

    Raises:
        ValueError: the snapshot is of other things.
    """
    joints = robot.dof
    if snapshot.shape != (joints + _POSE * len(bodies),):
        raise ValueError(f"a snapshot of {joints} joints and {len(bodies)} bodies, not {snapshot.shape}")
    robot.set_qpos(snapshot[:joints].astype(np.float32))
    for body, pose in zip(bodies, snapshot[joints:].reshape(-1, _POSE), strict=True):
        body.set_pose(sapien.Pose(pose[:3], pose[3:]))
