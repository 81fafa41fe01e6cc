"""Rotations against scipy, over the whole range of angles."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from magma_contracts.geometry import rotations

# A machine busy with other work is no reason to fail.
patient = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
vectors = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3).map(np.array)
small_vectors = st.lists(st.floats(-1e-5, 1e-5), min_size=3, max_size=3).map(np.array)


def same_rotation(left: np.ndarray, right: np.ndarray) -> bool:
    return bool(np.isclose(abs(left @ right), 1.0, atol=1e-12))


@patient
@given(st.one_of(vectors, small_vectors))
def test_quaternion_from_axis_angle(rotation: np.ndarray) -> None:
    ours = rotations.quaternion_from_axis_angle(rotation)
    assert same_rotation(ours, Rotation.from_rotvec(rotation).as_quat())
    assert np.isclose(np.linalg.norm(ours), 1.0, atol=1e-12)


@patient
@given(st.one_of(vectors, small_vectors))
def test_axis_angle_there_and_back(rotation: np.ndarray) -> None:
    quaternion = rotations.quaternion_from_axis_angle(rotation)
    back = rotations.axis_angle_from_quaternion(quaternion)
    assert np.linalg.norm(back) <= np.pi + 1e-9
    assert same_rotation(rotations.quaternion_from_axis_angle(back), quaternion)


@patient
@given(vectors, vectors, vectors)
def test_product_and_rotation(first: np.ndarray, second: np.ndarray, point: np.ndarray) -> None:
    left, right = Rotation.from_rotvec(first), Rotation.from_rotvec(second)
    product = rotations.multiply(left.as_quat(), right.as_quat())
    assert same_rotation(product, (left * right).as_quat())
    assert np.allclose(rotations.rotate(product, point), (left * right).apply(point), atol=1e-9)
    assert same_rotation(rotations.multiply(product, rotations.conjugate(product)), np.array([0.0, 0.0, 0.0, 1.0]))


@patient
@given(st.floats(-3.1, 3.1))
def test_yaw(yaw: float) -> None:
    quaternion = rotations.quaternion_from_yaw(yaw)
    assert np.isclose(rotations.yaw_from_quaternion(quaternion), yaw, atol=1e-9)
    assert np.allclose(rotations.rotate(quaternion, np.array([1.0, 0.0, 0.0])), [np.cos(yaw), np.sin(yaw), 0.0])
