"""The one place where axis-angle deltas meet SAPIEN's poses."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from magma_sim.backends.shared.poses import apply_delta, pose_from_sapien, pose_to_sapien
from magma_sim.backends.tabletop.control import finger_target


def test_delta_is_added_and_turned_in_the_base_frame() -> None:
    position, start = np.array([0.5, 0.1, 0.2]), Rotation.from_euler("xyz", [3.0, 0.2, -0.7])
    action = np.array([0.01, -0.02, 0.03, 0.1, -0.2, 0.3, 0.0])
    moved, turned = apply_delta(position, start.as_quat(), action)
    assert np.allclose(moved, [0.51, 0.08, 0.23])
    expected = Rotation.from_rotvec(action[3:6]) * start
    assert np.isclose(abs(turned @ expected.as_quat()), 1.0, atol=1e-12)


def test_sapien_pose_there_and_back() -> None:
    quaternion = Rotation.from_euler("xyz", [0.3, -0.5, 1.1]).as_quat()
    pose = pose_to_sapien(np.array([0.1, 0.2, 0.3]), quaternion)
    assert pose.q[0] == pytest.approx(quaternion[3])  # SAPIEN stores w first
    position, back = pose_from_sapien(pose)
    assert np.allclose(position, [0.1, 0.2, 0.3], atol=1e-7)
    assert np.isclose(abs(back @ quaternion), 1.0, atol=1e-6)


def test_gripper_opening() -> None:
    assert finger_target(1.0) == pytest.approx(0.04)
    assert finger_target(0.0) < 0.0
