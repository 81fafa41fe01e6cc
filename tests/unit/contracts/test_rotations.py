import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from magma_contracts.geometry.rotations import (
    axis_angle_from_quaternion,
    conjugate,
    matrix_from_quaternion,
    multiply,
    multiply_left_to_right,
    quaternion_from_axis_angle,
    quaternion_from_yaw,
    rotate,
    yaw_from_quaternion,
)

vectors = st.tuples(*[st.floats(-1.8, 1.8)] * 3).map(np.array)


@given(vectors)
def test_axis_angle_to_quaternion_agrees_with_scipy(vector):
    np.testing.assert_allclose(
        Rotation.from_quat(quaternion_from_axis_angle(vector)).as_matrix(),
        Rotation.from_rotvec(vector).as_matrix(),
        atol=1e-12,
    )


@given(vectors)
def test_there_and_back(vector):
    back = axis_angle_from_quaternion(quaternion_from_axis_angle(vector))
    np.testing.assert_allclose(
        Rotation.from_rotvec(back).as_matrix(), Rotation.from_rotvec(vector).as_matrix(), atol=1e-9
    )
    assert np.linalg.norm(back) <= np.pi + 1e-9


@given(vectors, vectors)
def test_product_and_inverse_agree_with_scipy(first, second):
    left, right = quaternion_from_axis_angle(first), quaternion_from_axis_angle(second)
    expected = (Rotation.from_quat(left) * Rotation.from_quat(right)).as_matrix()
    np.testing.assert_allclose(Rotation.from_quat(multiply(left, right)).as_matrix(), expected, atol=1e-12)
    np.testing.assert_allclose(np.abs(multiply(left, conjugate(left))), [0, 0, 0, 1], atol=1e-12)


@given(vectors, vectors)
def test_the_two_products_differ_in_rounding_alone(first, second):
    left, right = quaternion_from_axis_angle(first), quaternion_from_axis_angle(second)
    np.testing.assert_allclose(multiply_left_to_right(left, right), multiply(left, right), rtol=0, atol=5e-16)


@given(vectors, vectors, st.sampled_from([1.0, 1e-9, 1e9]))
def test_the_product_has_the_bits_that_journals_were_written_with(first, second, scale):
    left, right = scale * quaternion_from_axis_angle(first), quaternion_from_axis_angle(second)
    vector = left[3] * right[:3] + right[3] * left[:3] + np.cross(left[:3], right[:3])
    product = np.append(vector, left[3] * right[3] - left[:3] @ right[:3])
    assert multiply(left, right).tobytes() == (product / np.linalg.norm(product)).tobytes()


@given(vectors, st.floats(-3.1, 3.1))
def test_matrices_rotated_vectors_and_headings_agree_with_scipy(vector, yaw):
    quaternion = quaternion_from_axis_angle(vector)
    expected = Rotation.from_rotvec(vector)
    np.testing.assert_allclose(matrix_from_quaternion(quaternion), expected.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(rotate(quaternion, [1.0, -2.0, 3.0]), expected.apply([1.0, -2.0, 3.0]), atol=1e-12)
    np.testing.assert_allclose(Rotation.from_quat(quaternion_from_yaw(yaw)).as_rotvec(), [0, 0, yaw], atol=1e-12)
    assert abs(yaw_from_quaternion(quaternion_from_yaw(yaw)) - yaw) < 1e-9
