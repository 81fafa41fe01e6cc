"""Rotations many at a time are those one at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magma_contracts.geometry import rotation_arrays as many
from magma_contracts.geometry import rotations as one

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_each_row_is_what_it_is_alone(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(6, 3)) * rng.choice([0.0, 1e-7, 0.5, 2.0], size=(6, 1))
    turns = np.array([one.quaternion_from_axis_angle(vector) for vector in vectors])
    np.testing.assert_allclose(many.quaternion_from_axis_angle(vectors), turns, atol=1e-12)
    np.testing.assert_allclose(
        many.axis_angle_from_quaternion(turns), [one.axis_angle_from_quaternion(turn) for turn in turns], atol=1e-12
    )
    others = turns[::-1]
    products = [one.multiply(left, right) for left, right in zip(turns, others, strict=True)]
    np.testing.assert_allclose(many.multiply(turns, others), products, atol=1e-12)
    np.testing.assert_array_equal(many.conjugate(turns), [one.conjugate(turn) for turn in turns])
    turned = [one.rotate(turn, vector) for turn, vector in zip(turns, vectors[::-1], strict=True)]
    np.testing.assert_allclose(many.rotate(turns, vectors[::-1]), turned, atol=1e-12)
