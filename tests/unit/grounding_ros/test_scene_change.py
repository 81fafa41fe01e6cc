"""When a scene counts as changed."""

import dataclasses

import numpy as np
import pytest

from magma_contracts.arm_state import EndEffectorState
from magma_contracts.geometry.rotations import quaternion_from_axis_angle
from magma_grounding_ros.frame_history import Frame
from magma_grounding_ros.scene_change import SceneTolerance, changed_share, why_changed

DOWN = np.array([1.0, 0.0, 0.0, 0.0])
ARM = EndEffectorState(
    stamp_ns=1,
    position=np.array([0.4, 0.0, 0.2]),
    quaternion_xyzw=DOWN,
    target_position=np.array([0.4, 0.0, 0.2]),
    target_quaternion_xyzw=DOWN,
    gripper=1.0,
    gripper_target=1.0,
)


def table(noise=0.0, light=0.0, block=None, seed=0):
    """A table of 128 x 128 pixels with a block of 10 x 10, seen with noise and under some light."""
    pixels = np.full((128, 128, 3), 120.0)
    if block is not None:
        x, y = block
        pixels[y : y + 10, x : x + 10] = (200, 60, 40)
    pixels += light + np.random.default_rng(seed).normal(0.0, noise, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)


def why(before, now, arm_before=None, arm_now=None):
    return why_changed(Frame(1, before), Frame(2, now), arm_before, arm_now, SceneTolerance())


def test_noise_and_light_are_no_change():
    assert why(table(5.0, block=(50, 50)), table(5.0, 15.0, block=(50, 50), seed=1)) is None


@pytest.mark.parametrize("there", [(58, 50), (50, 62), None])
def test_a_block_that_moves_or_goes_is_one(there):
    assert "of the picture has changed" in why(table(5.0, block=(50, 50)), table(5.0, block=there, seed=1))


def test_another_size_is_one():
    assert "another size" in why(table(), table()[:64])


def test_small_and_uneven_pictures_are_compared():
    before = np.zeros((7, 50, 3), np.uint8)
    after = before.copy()
    after[:, :10] = 255
    assert changed_share(before, before, 10.0) == 0.0
    assert 0.1 < changed_share(before, after, 10.0) < 0.3


def test_an_arm_that_moves_or_turns_is_one():
    picture = table(block=(50, 50))
    moved = dataclasses.replace(ARM, position=np.array([0.4, 0.02, 0.2]))
    near = dataclasses.replace(ARM, position=np.array([0.4, 0.005, 0.2]))
    turned = dataclasses.replace(ARM, quaternion_xyzw=quaternion_from_axis_angle([np.pi - 0.2, 0.0, 0.0]))
    assert "the arm has moved by 20 mm" in why(picture, picture, ARM, moved)
    assert "the arm has turned by 0.20 rad" in why(picture, picture, ARM, turned)
    assert why(picture, picture, ARM, near) is None
    assert why(picture, picture, ARM, None) is None


def test_an_arm_that_does_not_know_where_it_is_has_moved():
    lost = dataclasses.replace(ARM, position=np.array([np.nan, 0.0, 0.2]))
    assert "nan mm" in why(table(), table(), ARM, lost)
