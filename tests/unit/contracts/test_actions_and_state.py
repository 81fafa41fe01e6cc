"""Actions, the arm's state and what a policy's actions mean."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from magma_contracts import arm_state
from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import STATE_SIZE, ArmState, EndEffectorState

numbers = hnp.arrays(np.float32, STATE_SIZE).map(lambda array: array.astype(np.float64))


@given(numbers)
def test_a_state_is_its_sixteen_numbers(vector):
    state = ArmState.from_vector(vector)
    assert np.array_equal(state.as_vector(np.float64), vector, equal_nan=True)
    assert state.as_vector().dtype == np.float32 and np.array_equal(state.as_vector(), vector, equal_nan=True)
    assert isinstance(state.gripper, float)


def test_the_places_are_those_of_the_fields_in_their_order():
    state = ArmState.from_vector(np.arange(16.0))
    places = {
        "position": arm_state.POSITION,
        "quaternion_xyzw": arm_state.QUATERNION,
        "target_position": arm_state.TARGET_POSITION,
        "target_quaternion_xyzw": arm_state.TARGET_QUATERNION,
        "gripper": arm_state.GRIPPER,
        "gripper_target": arm_state.GRIPPER_TARGET,
    }
    assert list(places) == [field.name for field in dataclasses.fields(ArmState)]
    for name, place in places.items():
        assert np.array_equal(np.atleast_1d(getattr(state, name)), np.arange(16.0)[place])


def test_a_stamped_state_holds_the_same_and_any_object_with_the_fields_is_one():
    down = [1.0, 0.0, 0.0, 0.0]
    told = EndEffectorState(7, [0.4, 0.0, 0.2], down, [0.5, 0.0, 0.2], down, 1, 0.5)
    assert (told.stamp_ns, told.frame) == (7, "base") and told.position.dtype == np.float64
    copied = ArmState.of(told)
    assert type(copied) is ArmState and np.array_equal(copied.as_vector(), told.as_vector())


@pytest.mark.parametrize("name, value", [("position", [1.0, 2.0]), ("quaternion_xyzw", [0.0] * 3), ("gripper", [1.0])])
def test_another_shape_is_refused_by_the_name_of_the_field(name, value):
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(ArmState.from_vector(np.zeros(16)), **{name: value})
    with pytest.raises(ValueError, match=r"\(16,\)"):
        ArmState.from_vector(np.zeros(15))


@pytest.mark.parametrize(
    "name, value",
    [("horizon", 0), ("image_height", 0), ("image_width", -1), ("step_period_s", 0.0), ("step_period_s", float("nan"))],
)
def test_a_spec_that_no_policy_can_have_can_be_held_and_is_told(name, value):
    spec = ActionSpec("p", 1, 0.2, "base", "axis_angle", "absolute_open_1", "key", "third_person", 8, 8, False)
    spec.check()
    wrong = dataclasses.replace(spec, **{name: value})
    with pytest.raises(ValueError, match=name):
        wrong.check()
