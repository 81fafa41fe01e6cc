"""Device profiles are typed, and motions reach the base frame with their length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from magma_contracts.errors import ConfigError
from magma_contracts.geometry.rotations import matrix_from_quaternion
from magma_teleop import device_profile
from magma_teleop.device_node import find_profile
from magma_teleop.device_profile import DeviceProfile, LeaderProfile, profile_from, read_profile
from magma_teleop.frames import to_base

SHIPPED = Path(device_profile.__file__).parents[1] / "config" / "devices"
JOY = {"kind": "joy", "name": "pad", "activation": "dead_man", "axes": {"x": {"axis": 0}}, "buttons": {"dead_man": 0}}


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_that_comes_with_the_package_is_valid(path):
    profile = read_profile(path)
    assert isinstance(profile, LeaderProfile if path.stem == "leader" else DeviceProfile)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "mouse"}, "kind must be joy or leader"),
        ({"dedzone": 0.1}, "unknown entry dedzone"),
        ({"name": None}, "name takes a str"),
        ({"activation": "always"}, "activation must be one of dead_man, touch"),
        ({"frame": "world"}, "frame must be one of base, camera, tool"),
        ({"axes": {"x": {"axis": 0, "button": 1}}}, r"axes.x\[0\]: give either axis or button"),
        ({"axes": {"x": {}}}, r"axes.x\[0\]: give either axis or button"),
        ({"axes": {"x": {"axis": True}}}, r"axes.x\[0\].axis takes a int"),
        ({"axes": {"x": {"axis": 0, "gain": 2}}}, r"unknown entry axes.x\[0\].gain"),
        ({"axes": {"w": {"axis": 0}}}, "unknown motion w"),
        ({"axes": {}}, "no motion is driven"),
        ({"axes": {"x": {"axis": 0, "scale": 3.0}}}, "scale must be from -1 to 1"),
        ({"buttons": {"deadman": 0}}, "unknown entry buttons.deadman"),
        ({"buttons": {}}, "dead_man needs buttons.dead_man"),
        ({"buttons": {"dead_man": -1}}, "must not be negative"),
        ({"max_speed_m_s": float("nan")}, "max_speed_m_s must be from"),
        ({"max_speed_m_s": "fast"}, "max_speed_m_s takes a float"),
    ],
)
def test_a_profile_with_a_mistake_is_refused_by_name(change, message):
    assert isinstance(profile_from(JOY), DeviceProfile)
    with pytest.raises(ConfigError, match=message):
        profile_from({**JOY, **change})


def test_a_missing_entry_and_a_broken_file_are_named(tmp_path):
    with pytest.raises(ConfigError, match="entry name is missing"):
        profile_from({name: value for name, value in JOY.items() if name != "name"})
    path = tmp_path / "pad.yaml"
    with pytest.raises(ConfigError, match="No such file"):
        find_profile(str(path))
    path.write_text("kind: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        find_profile(str(path))
    path.write_text(yaml.safe_dump(JOY))
    assert find_profile(str(path)).name == "pad"
    with pytest.raises(ConfigError, match="there are gamepad, gamepad_joy, leader, spacemouse"):
        find_profile("joystick")


quaternions = (
    st.tuples(*[st.floats(-1, 1)] * 4)
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: np.array(q) / np.linalg.norm(q))
)
motions = st.tuples(*[st.floats(-1, 1)] * 6).map(np.array)


@given(quaternions, motions)
def test_frames_turn_a_motion_and_keep_its_lengths(quaternion, motion):
    np.testing.assert_allclose(
        matrix_from_quaternion(quaternion), Rotation.from_quat(quaternion).as_matrix(), atol=1e-9
    )
    for frame in ("base", "tool", "camera"):
        turned = to_base(motion, frame, quaternion, quaternion)
        for part in (slice(0, 3), slice(3, 6)):
            assert np.linalg.norm(turned[part]) == pytest.approx(np.linalg.norm(motion[part]), abs=1e-9)


def test_in_the_cameras_frame_forward_goes_into_the_picture():
    """A camera that looks along the base's -x, upright: optical z = -x, optical x = y, optical y = -z."""
    optical = Rotation.from_matrix(np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]])).as_quat()
    tool = np.array([0, 0, 0, 1.0])
    for seen, expected in (([1.0, 0, 0], [-1, 0, 0]), ([0, 1.0, 0], [0, -1, 0]), ([0, 0, 1.0], [0, 0, 1])):
        turned = to_base(np.array([*seen, 0, 0, 0]), "camera", tool, optical)
        np.testing.assert_allclose(turned[:3], expected, atol=1e-9)
    with pytest.raises(ValueError, match="not known"):
        to_base(np.zeros(6), "camera", tool, None)
