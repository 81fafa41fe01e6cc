"""From a model's values to what a robot does, by the published rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from magma_contracts.errors import ConfigError
from magma_policy.embodiments.euler_angles import rotation_vector
from magma_policy.embodiments.google_robot.adapter import GoogleRobotAdapter
from magma_policy.embodiments.registry import make_adapter
from magma_policy.embodiments.widowx.adapter import WidowXAdapter

OPEN, CLOSED = 0.99608, 0.0


def values(gripper, motion=(0.01, -0.02, 0.03, 0.1, -0.2, 0.3)):
    return np.array([*motion, gripper])


@given(st.tuples(*[st.floats(-1.5, 1.5)] * 3))
def test_rotation_vectors_are_those_of_static_xyz_euler_angles(angles):
    ours = Rotation.from_rotvec(rotation_vector(*angles))
    assert (ours.inv() * Rotation.from_euler("xyz", angles)).magnitude() < 1e-6
    assert np.linalg.norm(rotation_vector(*angles)) <= np.pi + 1e-9


def test_small_rotations_are_nearly_their_angles():
    assert rotation_vector(0.0, 0.0, 0.0).tolist() == [0.0, 0.0, 0.0]
    assert rotation_vector(1e-4, -2e-4, 3e-4) == pytest.approx([1e-4, -2e-4, 3e-4], abs=1e-7)
    assert rotation_vector(0.0, 0.0, 0.5) == pytest.approx([0.0, 0.0, 0.5])


def test_deltas_pass_with_the_opening_limited():
    adapter = make_adapter("deltas")
    frame = np.zeros((4, 4, 3), np.uint8)
    assert adapter.image(frame) is frame
    action = adapter.adapt(values(1.2))
    assert action.delta.tolist() == [0.01, -0.02, 0.03, 0.1, -0.2, 0.3, 1.0]
    assert action.simpler is None
    assert adapter.adapt(values(-0.5)).delta[6] == 0.0


@pytest.mark.parametrize(("gripper", "opening", "command"), [(OPEN, 1, 1), (0.51, 1, 1), (0.5, 0, -1), (CLOSED, 0, -1)])
def test_widowx_gripper_is_open_or_closed(gripper, opening, command):
    action = WidowXAdapter().adapt(values(gripper))
    assert action.delta[6] == opening
    assert action.simpler[6] == command
    motion = [0.01, -0.02, 0.03, *Rotation.from_euler("xyz", [0.1, -0.2, 0.3]).as_rotvec()]
    assert action.delta[:6] == pytest.approx(motion)
    assert np.array_equal(action.simpler[:6], action.delta[:6])


def published_google_gripper(openings):
    """The rule as facts: relative change, latched when above one half, repeated for ten steps."""
    out, previous, sticky, left = [], None, 0.0, 0
    for opening in openings:
        relative = 0.0 if previous is None else previous - opening
        previous = opening
        if left == 0 and abs(relative) > 0.5:
            sticky, left = relative, 10
        if left:
            relative, left = sticky, left - 1
        out.append(relative)
    return out


@given(st.lists(st.sampled_from([0.0, 0.2, 0.45, 0.6, OPEN]), max_size=60))
def test_google_gripper_is_relative_and_sticky(openings):
    adapter = GoogleRobotAdapter()
    actions = [adapter.adapt(values(o)) for o in openings]
    assert [a.simpler[6] for a in actions] == published_google_gripper(openings)
    assert [a.delta[6] for a in actions] == openings


def test_google_gripper_closes_for_ten_steps_whatever_comes():
    adapter = GoogleRobotAdapter()
    commands = [adapter.adapt(values(o)).simpler[6] for o in [OPEN, OPEN, CLOSED, *[OPEN, CLOSED] * 4, OPEN, OPEN]]
    assert commands[:2] == [0.0, 0.0]
    assert commands[2:12] == [OPEN] * 10
    assert commands[12] == 0.0


def test_no_gripper_state_survives_the_episode():
    adapter = GoogleRobotAdapter()
    for opening in (OPEN, CLOSED, CLOSED):
        adapter.adapt(values(opening))
    adapter.reset()
    assert adapter.adapt(values(OPEN)).simpler[6] == 0.0
    assert adapter.adapt(values(OPEN)).simpler[6] == 0.0


def test_frames_are_squashed_as_the_published_evaluation_does():
    image = pytest.importorskip("PIL.Image")
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for adapter in (WidowXAdapter(), GoogleRobotAdapter()):
        squashed = adapter.image(frame)
        assert squashed.shape == (256, 256, 3)
        assert np.array_equal(squashed, np.array(image.fromarray(frame).resize((256, 256), image.Resampling.BICUBIC)))


def test_unknown_adapters_are_refused():
    with pytest.raises(ConfigError, match="no adapter 'franka'"):
        make_adapter("franka")
