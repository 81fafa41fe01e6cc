"""Messages that describe the simulated world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from magma_interfaces.msg import EpisodeStatus
from sensor_msgs.msg import CameraInfo, JointState
from tf2_msgs.msg import TFMessage

from magma_contracts.arm_state import EndEffectorState
from magma_contracts.geometry.rotations import quaternion_from_axis_angle
from magma_sim_ros.episode import Episode

if TYPE_CHECKING:
    from magma_sim import Observation, TaskSpec

END_EFFECTOR_FRAME = "ee"
CAMERA_FRAME = "camera_optical"


def end_effector_state(observation: Observation, stamp_ns: int, frame: str) -> EndEffectorState:
    """The observation's end effector as the shared dataclass."""
    return EndEffectorState.of(observation.end_effector, stamp_ns=stamp_ns, frame=frame)


def transform(
    parent: str, child: str, position: np.ndarray, quaternion_xyzw: np.ndarray, stamp: Time
) -> TransformStamped:
    """Pose of `child` in `parent`: position (3,) m, quaternion (4,) xyzw."""
    message = TransformStamped()
    message.header.stamp = stamp
    message.header.frame_id = parent
    message.child_frame_id = child
    x, y, z = (float(value) for value in position)
    message.transform.translation = Vector3(x=x, y=y, z=z)
    x, y, z, w = (float(value) for value in quaternion_xyzw)
    message.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    return message


def transforms(observation: Observation, stamp: Time, frame: str, prefix: str = "") -> TFMessage:
    """End effector and every object of the scene in the base frame; `prefix` stands before each name."""
    measured = observation.end_effector
    poses = {END_EFFECTOR_FRAME: (measured.position, measured.quaternion_xyzw), **observation.object_poses}
    return TFMessage(
        transforms=[
            transform(prefix + frame, prefix + child, position, quaternion, stamp)
            for child, (position, quaternion) in poses.items()
        ]
    )


def joint_state(positions: Mapping[str, float], stamp: Time) -> JointState:
    """Joint positions by name: rad, or m where a joint slides."""
    message = JointState(name=list(positions), position=list(positions.values()))
    message.header.stamp = stamp
    return message


def camera_info(spec: TaskSpec, stamp: Time, prefix: str = "") -> CameraInfo:
    """Pinhole model of the simulated camera, without distortion.

    The simulator puts pixel centres at half-integers, ROS (image_geometry, OpenCV) at integers; hence the half pixel.
    """
    intrinsics = np.array(spec.camera_intrinsics, dtype=np.float64)
    intrinsics[:2, 2] -= 0.5
    message = CameraInfo(height=spec.image_height, width=spec.image_width, distortion_model="plumb_bob")
    message.header.stamp = stamp
    message.header.frame_id = prefix + CAMERA_FRAME
    message.d = [0.0] * 5
    message.k = intrinsics.reshape(9).tolist()
    message.r = np.eye(3).reshape(9).tolist()
    message.p = np.hstack([intrinsics, np.zeros((3, 1))]).reshape(12).tolist()
    return message


def camera_transform(spec: TaskSpec, stamp: Time, prefix: str = "") -> TransformStamped:
    """Pose of the camera's optical frame in the base frame."""
    camera_in_base = np.linalg.inv(spec.camera_extrinsics)
    rotation_vector, _ = cv2.Rodrigues(camera_in_base[:3, :3])
    quaternion = quaternion_from_axis_angle(rotation_vector.ravel())
    return transform(prefix + spec.frame, prefix + CAMERA_FRAME, camera_in_base[:3, 3], quaternion, stamp)


def episode_status(episode: Episode, stamp: Time) -> EpisodeStatus:
    """How far the episode is."""
    spec, observation = episode.task.spec, episode.observation
    message = EpisodeStatus(
        task=spec.task,
        variant=episode.variant,
        layout=episode.layout,
        step=observation.step,
        max_steps=spec.max_steps,
        success=observation.success,
        done=episode.done,
        instruction=spec.instruction,
    )
    message.header.stamp = stamp
    message.header.frame_id = spec.frame
    return message
