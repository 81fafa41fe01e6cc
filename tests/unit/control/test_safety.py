import numpy as np
import pytest
from control_builders import FORWARD, STILL, chunk, spec, state
from hypothesis import given
from hypothesis import strategies as st

from magma_contracts.errors import ConfigError
from magma_control.config import ControllerConfig
from magma_control.safety import limit, refuse_chunk, refuse_deltas, refuse_spec, refuse_state

CONFIG = ControllerConfig()


def test_a_spec_that_fits_passes():
    assert refuse_spec(spec(), CONFIG) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"frame": "camera"}, "frame is 'camera', this arm takes 'base'"),
        ({"rotation": "euler_xyz"}, "rotation is 'euler_xyz', this arm takes 'axis_angle'"),
        ({"gripper": "relative"}, "gripper is 'relative', this arm takes 'absolute_open_1'"),
        ({"step_period_s": 0.1}, "step_period_s is 0.1, this arm takes 0.2"),
        ({"step_period_s": float("nan")}, "step_period_s is nan"),
        ({"horizon": 0}, "horizon is 0, this arm takes 1 to 16"),
        ({"horizon": 17}, "horizon is 17"),
    ],
)
def test_a_spec_that_differs_is_refused_by_field(changes, text):
    assert text in refuse_spec(spec(**changes), CONFIG).text


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (chunk(0, STILL, policy="other"), "chunk of another policy"),
        (chunk(0, STILL, step_period_s=0.1), "chunk with a wrong step period"),
        (chunk(0, STILL, step_period_s=float("nan")), "chunk with a wrong step period"),
        (chunk(0, deltas=np.zeros((0, 7))), "empty chunk"),
        (chunk(0, deltas=np.zeros((0, 7)), refusal="logits are not finite"), "policy refuses"),
        (chunk(0, STILL, refusal="logits are not finite"), "policy refuses"),
        (chunk(0, *[STILL] * 5), "chunk too long"),
        (chunk(0, STILL, frame="camera"), "wrong frame"),
        (chunk(0, STILL, step_frames=("ee",)), "wrong frame"),
        (chunk(0, STILL, (float("nan"), 0, 0, 0, 0, 0, 1)), "not finite"),
        (chunk(0, (0, 0, 0, 0, float("inf"), 0, 1)), "not finite"),
        (chunk(0, (0, 0, 0, 0, 0, 0, float("nan"))), "not finite"),
        (chunk(0, (10.0, 0, 0, 0, 0, 0, 1)), "absurd translation"),
        (chunk(0, STILL, (0.2, 0.2, 0, 0, 0, 0, 1)), "absurd translation"),
        (chunk(0, (0, 0, 0, 0, 0, 3.0, 1)), "absurd rotation"),
        (chunk(0, (0, 0, 0, 0, 0, 0, 1.1)), "gripper out of range"),
        (chunk(0, (0, 0, 0, 0, 0, 0, -0.1)), "gripper out of range"),
    ],
)
def test_a_chunk_is_refused_whole(value, code):
    assert refuse_chunk(value, spec(), CONFIG).code == code


def test_a_chunk_that_fits_passes():
    assert refuse_chunk(chunk(0, FORWARD, STILL, step_frames=("base", "")), spec(), CONFIG) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"position": np.array([np.nan, 0, 0])},
        {"target_position": np.array([0, 0, 1e300])},
        {"quaternion_xyzw": np.zeros(4)},
        {"target_quaternion_xyzw": np.array([0, 0, 0, np.inf])},
        {"gripper": float("nan")},
        {"gripper_target": float("inf")},
    ],
)
def test_a_state_that_makes_no_sense_is_refused(changes):
    assert refuse_state(state(0, **changes), CONFIG).code == "arm state makes no sense"


def test_a_state_in_another_frame_is_refused():
    assert "frame 'map', not 'base'" in refuse_state(state(0, frame="map"), CONFIG).text


MIDDLE = np.array([0.5, 0.0, 0.3])


@pytest.mark.parametrize(
    ("delta", "expected", "clips"),
    [
        ((0.02, 0, 0, 0, 0, 0.1, 0.5), (0.02, 0, 0, 0, 0, 0.1, 0.5), ()),
        ((0, 0.2, 0, 0, 0, 0, 1), (0, 0.08, 0, 0, 0, 0, 1), ("step translation",)),
        ((0, 0, 0, 0, 1.0, 0, 1), (0, 0, 0, 0, 0.5, 0, 1), ("step rotation",)),
        ((0, 0, 0, 0, 0, 0, 1.0005), (0, 0, 0, 0, 0, 0, 1), ("gripper",)),
    ],
)
def test_a_step_that_goes_too_far_is_shortened(delta, expected, clips):
    limited, names = limit(np.array(delta, dtype=float), [MIDDLE], CONFIG)
    np.testing.assert_allclose(limited, expected, atol=1e-12)
    assert names == clips


def test_speed_limits_are_per_step_period():
    config = ControllerConfig(max_speed_m_s=0.1, max_angular_speed_rad_s=1.0)
    limited, names = limit(np.array([0.06, 0, 0, 0, 0, 0.4, 1.0]), [MIDDLE], config)
    np.testing.assert_allclose(limited, [0.02, 0, 0, 0, 0, 0.2, 1.0])
    assert names == ("speed", "angular speed")


def test_the_target_stays_in_the_box_and_slides_along_its_wall():
    limited, names = limit(np.array([0.03, 0, -0.05, 0, 0, 0, 1.0]), [np.array([0.5, 0.0, 0.01])], CONFIG)
    np.testing.assert_allclose(limited[:3], [0.03, 0, -0.01])
    assert names == ("workspace",)


def test_a_target_outside_the_box_may_only_come_back():
    outside = np.array([0.5, 0.0, -0.05])
    deeper, names = limit(np.array([0, 0, -0.02, 0, 0, 0, 1.0]), [outside], CONFIG)
    assert deeper[2] == 0.0 and names == ("workspace",)
    back, names = limit(np.array([0, 0, 0.02, 0, 0, 0, 1.0]), [outside], CONFIG)
    assert back[2] == 0.02 and names == ()


def test_the_box_holds_for_every_place_where_the_target_may_be():
    near, nearer = np.array([0.80, 0.0, 0.3]), np.array([0.84, 0.0, 0.3])
    limited, _ = limit(np.array([0.05, 0, 0, 0, 0, 0, 1.0]), [near, nearer], CONFIG)
    np.testing.assert_allclose(limited[0], 0.01)


vectors = st.tuples(*[st.floats(-0.5, 0.5)] * 3)
places = st.tuples(*[st.floats(-2.0, 2.0)] * 3).map(np.array)


@given(vectors, vectors, st.floats(-0.001, 1.001), st.lists(places, min_size=1, max_size=3))
def test_every_limit_holds_for_any_step_from_anywhere(translation, rotation, gripper, targets):
    delta = np.array([*translation, *rotation, gripper])
    limited, clips = limit(delta, targets, CONFIG)
    assert np.linalg.norm(limited[:3]) <= min(0.08, np.linalg.norm(delta[:3])) + 1e-12
    assert np.linalg.norm(limited[3:6]) <= min(0.5, np.linalg.norm(delta[3:6])) + 1e-12
    assert 0.0 <= limited[6] <= 1.0
    low, high = np.array(CONFIG.workspace_min_m), np.array(CONFIG.workspace_max_m)
    for target in targets:
        assert (target + limited[:3] >= np.minimum(low, target) - 1e-12).all()
        assert (target + limited[:3] <= np.maximum(high, target) + 1e-12).all()
    assert bool(clips) == (not np.array_equal(limited, delta))


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=7, max_size=7))
def test_what_passes_is_finite_and_sensible(values):
    delta = np.array(values)
    with np.errstate(over="ignore"):
        refusal = refuse_deltas(delta[None], CONFIG)
    if refusal is None:
        assert np.isfinite(delta).all() and np.linalg.norm(delta[:3]) <= 0.25 and np.linalg.norm(delta[3:6]) <= 1.5


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"workspace_min_m": (0.9, 0.0, 0.0)}, "workspace x is empty"),
        ({"reject_translation_m": 0.01}, "reject_translation_m"),
        ({"reject_rotation_rad": 0.01}, "reject_rotation_rad"),
        ({"max_speed_m_s": 0.0}, "at least"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(values, text):
    with pytest.raises(ConfigError, match=text):
        ControllerConfig.from_mapping(values)
