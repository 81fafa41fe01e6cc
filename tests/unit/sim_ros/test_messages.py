import numpy as np
from builtin_interfaces.msg import Time
from scipy.spatial.transform import Rotation

from magma_contracts.action_spec import ActionSpec
from magma_sim.tasks.interface import TaskSpec
from magma_sim_ros import messages
from magma_sim_ros.spec_agreement import disagreement

INTRINSICS = np.array([[100.0, 0.0, 64.0], [0.0, 110.0, 48.0], [0.0, 0.0, 1.0]])
EXTRINSICS = np.eye(4)
EXTRINSICS[:3, :3] = Rotation.from_euler("xyz", [120, 10, 80], degrees=True).as_matrix()
EXTRINSICS[:3, 3] = [0.1, -0.2, 0.9]
SPEC = TaskSpec("fake", "a", "do a", 60, 96, 128, INTRINSICS, EXTRINSICS, 0.0)
STAMP = Time(sec=5, nanosec=6)


def test_camera_info_counts_pixels_as_ros_does():
    info = messages.camera_info(SPEC, STAMP)
    k = np.array(info.k).reshape(3, 3)
    # A ray that the simulator sees at the centre of pixel (0, 0), (0.5, 0.5), ROS sees at (0, 0).
    ray = np.linalg.inv(INTRINSICS) @ [0.5, 0.5, 1.0]
    np.testing.assert_allclose(k @ ray, [0.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_array_equal(np.array(info.p).reshape(3, 4)[:, :3], k)
    assert (info.height, info.width, info.header.frame_id) == (96, 128, "camera_optical")
    assert INTRINSICS[0, 2] == 64.0, "the spec's own array is left alone"


def test_a_prefix_stands_before_every_frame():
    assert messages.camera_info(SPEC, STAMP, "left/").header.frame_id == "left/camera_optical"
    camera = messages.camera_transform(SPEC, STAMP, "left/")
    assert (camera.header.frame_id, camera.child_frame_id) == ("left/base", "left/camera_optical")


def test_camera_transform_is_the_inverse_of_the_extrinsics():
    message = messages.camera_transform(SPEC, STAMP)
    t, q = message.transform.translation, message.transform.rotation
    rotation, position = Rotation.from_quat([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z])
    point = np.array([0.4, -0.1, 0.05])
    in_camera = EXTRINSICS @ np.append(point, 1.0)
    np.testing.assert_allclose(rotation.inv().apply(point - position), in_camera[:3], atol=1e-9)
    assert (message.header.frame_id, message.child_frame_id) == ("base", "camera_optical")


def spec(**changes):
    fields = {"step_period_s": 0.2, "frame": "base", "rotation": "axis_angle", "gripper": "absolute_open_1"}
    fields = {**fields, "camera": "third_person", **changes}
    return ActionSpec(
        policy="p", horizon=1, statistics_key="x", image_height=1, image_width=1, proprioception=True, **fields
    )


def test_each_field_that_must_agree_is_named():
    assert disagreement(spec(), SPEC) is None
    wrong = {"step_period_s": 0.1, "frame": "ee", "rotation": "euler", "gripper": "closed_1", "camera": "wrist"}
    for name, value in wrong.items():
        problem = disagreement(spec(**{name: value}), SPEC)
        assert problem.startswith(name) and str(value) in problem
