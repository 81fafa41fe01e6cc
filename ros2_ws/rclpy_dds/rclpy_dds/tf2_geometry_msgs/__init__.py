"""Transforms messages of geometry_msgs; importing it lets ``tf2_ros.Buffer.transform`` take them."""

from typing import Any

import numpy as np

from rclpy_dds.interfaces import message_class
from rclpy_dds.tf2_ros.buffer_interface import ConvertRegistration, TransformRegistration
from rclpy_dds.tf2_ros.poses import Pose, compose, pose_of_message, rotate

__all__ = [
    "do_transform_point",
    "do_transform_pose",
    "do_transform_pose_stamped",
    "do_transform_pose_with_covariance_stamped",
    "do_transform_vector3",
    "transform_covariance",
]


def do_transform_point(point: Any, transform: Any) -> Any:
    """Transform a ``PointStamped``."""
    pose = pose_of_message(transform.transform)
    result = message_class("geometry_msgs/msg/PointStamped")(header=transform.header)
    rotated = rotate(pose.rotation, (point.point.x, point.point.y, point.point.z))
    moved = (value + offset for value, offset in zip(rotated, pose.translation, strict=True))
    result.point.x, result.point.y, result.point.z = moved
    return result


def do_transform_vector3(vector3: Any, transform: Any) -> Any:
    """Transform a ``Vector3Stamped``: a direction, which is only rotated."""
    rotation = pose_of_message(transform.transform).rotation
    result = message_class("geometry_msgs/msg/Vector3Stamped")(header=transform.header)
    vector = vector3.vector
    result.vector.x, result.vector.y, result.vector.z = rotate(rotation, (vector.x, vector.y, vector.z))
    return result


def do_transform_pose(pose: Any, transform: Any) -> Any:
    """Transform a ``Pose``."""
    position, orientation = pose.position, pose.orientation
    own = Pose((position.x, position.y, position.z), (orientation.x, orientation.y, orientation.z, orientation.w))
    moved = compose(pose_of_message(transform.transform), own)
    result = message_class("geometry_msgs/msg/Pose")()
    result.position.x, result.position.y, result.position.z = moved.translation
    target = result.orientation
    target.x, target.y, target.z, target.w = moved.rotation
    return result


def do_transform_pose_stamped(pose: Any, transform: Any) -> Any:
    """Transform a ``PoseStamped``."""
    moved = do_transform_pose(pose.pose, transform)
    return message_class("geometry_msgs/msg/PoseStamped")(header=transform.header, pose=moved)


def transform_covariance(cov_in: Any, transform: Any) -> np.ndarray:
    """Rotate a covariance.

    Args:
        cov_in: 36 numbers, row by row, of x, y, z and the rotations about these axes.
        transform: a ``Transform``.

    Returns:
        float64 array of shape (36,).
    """
    rotation = pose_of_message(transform).rotation
    matrix = np.array([rotate(rotation, axis) for axis in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]).T
    blocks = np.zeros((6, 6))
    blocks[:3, :3] = blocks[3:, 3:] = matrix
    return (blocks @ np.asarray(cov_in, dtype=float).reshape(6, 6) @ blocks.T).reshape(36)


def do_transform_pose_with_covariance_stamped(pose: Any, transform: Any) -> Any:
    """Transform a ``PoseWithCovarianceStamped``."""
    result = message_class("geometry_msgs/msg/PoseWithCovarianceStamped")(header=transform.header)
    result.pose.pose = do_transform_pose(pose.pose.pose, transform)
    result.pose.covariance = transform_covariance(pose.pose.covariance, transform.transform)
    return result


def _same(message: Any) -> Any:
    return message


for _name, _function in (
    ("PointStamped", do_transform_point),
    ("Vector3Stamped", do_transform_vector3),
    ("PoseStamped", do_transform_pose_stamped),
    ("PoseWithCovarianceStamped", do_transform_pose_with_covariance_stamped),
):
    _kind = message_class(f"geometry_msgs/msg/{_name}")
    TransformRegistration().add(_kind, _function)
    ConvertRegistration().add_to_msg(_kind, _same)
    ConvertRegistration().add_from_msg(_kind, _same)
