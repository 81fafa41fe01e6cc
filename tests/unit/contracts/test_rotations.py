import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from magma_contracts.rotations import axis_angle_from_quaternion, conjugate, multiply, quaternion_from_axis_angle

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
