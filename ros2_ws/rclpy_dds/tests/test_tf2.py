"""Coordinate frames: storing, looking up, interpolation, and the topics behind them."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tf2_geometry_msgs
import tf2_ros
from geometry_msgs.msg import (
    PointStamped,
    PoseStamped,
    PoseWithCovarianceStamped,
    Quaternion,
    TransformStamped,
    Vector3,
    Vector3Stamped,
)
from hypothesis import given
from hypothesis import strategies as st
from rclpy.duration import Duration
from rclpy.time import Time
from tf2_msgs.srv import FrameGraph
from tf2_ros.buffer_core import BufferCore


def transform(parent: str, child: str, stamp_s: float = 1.0, xyz: Any = (0, 0, 0), yaw: float = 0.0) -> Any:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = at(stamp_s).to_msg()
    message.transform.translation = Vector3(**dict(zip("xyz", map(float, xyz), strict=True)))
    message.transform.rotation = Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2))
    return message


def at(seconds: float) -> Time:
    return Time(nanoseconds=round(seconds * 1e9))


def matrix(message: Any) -> np.ndarray:
    t, q = message.transform.translation, message.transform.rotation
    x, y, z, w = q.x, q.y, q.z, q.w
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), t.x],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), t.y],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), t.z],
            [0, 0, 0, 1],
        ]
    )


_numbers = st.lists(st.floats(-5, 5), min_size=7, max_size=7).filter(lambda v: sum(x * x for x in v[3:]) > 0.1)


@given(st.lists(_numbers, min_size=4, max_size=4))
def test_lookups_agree_with_matrices(values: list[list[float]]) -> None:
    """root -> a -> b and root -> c -> d, looked up from b to d and back."""
    edges = {("root", "a"): 0, ("a", "b"): 1, ("root", "c"): 2, ("c", "d"): 3}
    buffer, matrices = BufferCore(), {}
    for (parent, child), index in edges.items():
        message = transform(parent, child, xyz=values[index][:3])
        rotation = np.array(values[index][3:]) / np.linalg.norm(values[index][3:])
        message.transform.rotation = Quaternion(**dict(zip("xyzw", rotation.tolist(), strict=True)))
        buffer.set_transform(message, "test")
        matrices[child] = matrix(message)
    root_b, root_d = matrices["a"] @ matrices["b"], matrices["c"] @ matrices["d"]
    found = buffer.lookup_transform_core("d", "b", at(1.0))
    np.testing.assert_allclose(matrix(found), np.linalg.inv(root_d) @ root_b, atol=1e-9)
    back = buffer.lookup_transform_core("b", "d", Time())
    np.testing.assert_allclose(matrix(back) @ matrix(found), np.eye(4), atol=1e-9)
    assert (found.header.frame_id, found.child_frame_id) == ("d", "b")


def test_interpolation_between_stamps() -> None:
    buffer = BufferCore()
    buffer.set_transform(transform("map", "base", 1.0, (0, 0, 0), 0.0), "test")
    buffer.set_transform(transform("map", "base", 2.0, (4, 0, 0), math.pi / 2), "test")
    found = buffer.lookup_transform_core("map", "base", at(1.25))
    assert found.transform.translation.x == pytest.approx(1.0)
    assert 2 * math.atan2(found.transform.rotation.z, found.transform.rotation.w) == pytest.approx(math.pi / 8)
    assert found.header.stamp.nanosec == 250_000_000
    # The same orientation with the opposite sign is no detour.
    opposite = transform("map", "base", 3.0, (4, 0, 0), math.pi / 2)
    rotation = opposite.transform.rotation
    rotation.z, rotation.w = -rotation.z, -rotation.w
    buffer.set_transform(opposite, "test")
    found = buffer.lookup_transform_core("map", "base", at(2.5)).transform.rotation
    assert abs(2 * math.atan2(found.z, found.w)) == pytest.approx(math.pi / 2)


def test_latest_common_time_and_static_frames() -> None:
    buffer = BufferCore()
    for stamp in (1.0, 2.0, 3.0):
        buffer.set_transform(transform("map", "odom", stamp), "test")
    for stamp in (1.5, 2.5):
        buffer.set_transform(transform("odom", "base", stamp, (stamp, 0, 0)), "test")
    buffer.set_transform_static(transform("base", "camera", 0.0, (0, 0, 1)), "test")
    assert buffer.get_latest_common_time("map", "camera") == at(2.5)
    found = buffer.lookup_transform_core("map", "camera", Time())
    assert found.transform.translation == Vector3(x=2.5, z=1.0)
    # A static transform holds at any time, and alone it has none.
    assert buffer.lookup_transform_core("base", "camera", at(1000.0)).transform.translation.z == 1.0
    assert buffer.lookup_transform_core("base", "camera", Time()).header.stamp.sec == 0
    assert buffer.lookup_transform_core("camera", "camera", Time()).transform.rotation.w == 1.0
    # Between two times, by a frame that did not move.
    full = buffer.lookup_transform_full_core("base", at(2.5), "base", at(1.5), "odom")
    assert full.transform.translation.x == pytest.approx(-1.0)
    assert buffer.can_transform_full_core("base", at(2.5), "base", at(1.5), "odom") == (True, "")
    buffer.clear()
    assert buffer.can_transform_core("base", "camera", Time())[0]
    assert not buffer.can_transform_core("map", "camera", Time())[0]


def test_meeting_below_a_gap() -> None:
    """Two frames of one robot can be compared although it is not known where the robot was."""
    buffer = BufferCore()
    buffer.set_transform(transform("map", "base", 1.0), "test")
    for child in ("left", "right"):
        buffer.set_transform_static(transform("base", child, xyz=(1, 0, 0)), "test")
    assert buffer.can_transform_core("left", "right", at(5.0))[0]
    assert not buffer.can_transform_core("map", "right", at(5.0))[0]


@pytest.mark.parametrize(
    ("target", "source", "time", "error", "text"),
    [
        ("map", "base", 0.5, tf2_ros.ExtrapolationException, "into the past.*0.500000.*1.000000.*base.*map"),
        ("map", "base", 9.0, tf2_ros.ExtrapolationException, "into the future"),
        ("map", "single", 9.0, tf2_ros.ExtrapolationException, "only time 1.000000 is in the buffer"),
        ("map", "nowhere", 1.0, tf2_ros.LookupException, '"nowhere" .* does not exist'),
        ("map", "island", 1.0, tf2_ros.ConnectivityException, "not part of the same tree"),
        ("map", "island", 0.0, tf2_ros.ConnectivityException, "not part of the same tree"),
        ("", "base", 1.0, tf2_ros.InvalidArgumentException, "cannot be empty"),
        ("/map", "base", 1.0, tf2_ros.InvalidArgumentException, "cannot start with"),
    ],
)
def test_errors(target: str, source: str, time: float, error: type, text: str) -> None:
    buffer = BufferCore()
    buffer.set_transform(transform("map", "base", 1.0), "test")
    buffer.set_transform(transform("map", "base", 2.0), "test")
    buffer.set_transform(transform("map", "single", 1.0), "test")
    buffer.set_transform(transform("sea", "island", 1.0), "test")
    with pytest.raises(error, match=text) as caught:
        buffer.lookup_transform_core(target, source, at(time))
    assert isinstance(caught.value, tf2_ros.TransformException)
    possible, reason = buffer.can_transform_core(target, source, at(time))
    assert not possible and reason


def test_loops_are_found() -> None:
    buffer = BufferCore()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        buffer.set_transform(transform(parent, child), "test")
    buffer.set_transform(transform("x", "y"), "test")
    for time in (Time(), at(1.0)):
        with pytest.raises(tf2_ros.LookupException, match="loop"):
            buffer.lookup_transform_core("y", "c", time)


def test_unusable_transforms_are_left_out() -> None:
    buffer = BufferCore()
    bad = [transform("a", "a"), transform("", "b"), transform("a", ""), transform("a", "b", xyz=(math.nan, 0, 0))]
    bad.append(transform("a", "b"))
    bad[-1].transform.rotation.w = 2.0
    for message in bad:
        buffer.set_transform(message, "test")
    assert buffer._getFrameStrings() == []


def test_history_is_bounded_and_takes_late_data() -> None:
    buffer = BufferCore(Duration(seconds=1))
    for index in range(2000):
        buffer.set_transform(transform("map", "base", index * 0.01, (index, 0, 0)), "test")
    assert len(buffer._frames["base"].stamps) < 300
    buffer.set_transform(transform("map", "base", 19.505, (-1, 0, 0)), "test")
    assert buffer.lookup_transform_core("map", "base", at(19.505)).transform.translation.x == -1.0
    buffer.set_transform(transform("map", "base", 1.0, (-2, 0, 0)), "test")
    assert not buffer.can_transform_core("map", "base", at(1.0))[0]


def test_broadcasters_and_listener(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    sender, receiver = make_node("sender"), make_node("receiver")
    static = tf2_ros.StaticTransformBroadcaster(sender)
    static.sendTransform(transform("base", "camera", xyz=(1, 0, 0)))
    static.sendTransform([transform("base", "tool", xyz=(2, 0, 0)), transform("base", "camera", xyz=(3, 0, 0))])
    buffer = tf2_ros.Buffer(node=receiver)
    listener = tf2_ros.TransformListener(buffer, receiver)  # late: the static transforms are kept for it
    moving = tf2_ros.TransformBroadcaster(sender)
    future = buffer.wait_for_transform_async("map", "camera", at(2.0))
    spin_until(lambda: moving.pub_tf.get_subscription_count() == 1)
    for stamp in (1.0, 3.0):
        moving.sendTransform(transform("map", "base", stamp, (stamp, 0, 0)))
    spin_until(future.done)
    assert future.result().transform.translation.x == pytest.approx(5.0)
    assert buffer._new_data_callbacks == []
    assert buffer.can_transform("map", "tool", at(2.0), Duration(seconds=1))
    client = sender.create_client(FrameGraph, "tf2_frames")
    spin_until(client.service_is_ready)
    frames = client.call_async(FrameGraph.Request())
    spin_until(frames.done)
    assert "parent: 'base'" in frames.result().frame_yaml
    listener.unregister()
    assert not [entry for entry in receiver.subscriptions if entry.topic_name.startswith("/tf")]


def test_waiting_in_a_thread() -> None:
    buffer = tf2_ros.Buffer()
    assert buffer.can_transform("map", "base", Time(), Duration(nanoseconds=10), return_debug_tuple=True)[1]
    timer = threading.Timer(0.1, lambda: buffer.set_transform(transform("map", "base"), "test"))
    timer.start()
    assert buffer.lookup_transform("map", "base", Time(), Duration(seconds=30)).header.stamp.sec == 1
    timer.join()


def test_transforming_messages() -> None:
    buffer = tf2_ros.Buffer()
    buffer.set_transform_static(transform("map", "base", xyz=(1, 2, 3), yaw=math.pi / 2), "test")

    def stamped(kind: type) -> Any:
        message = kind()
        message.header.frame_id = "base"
        return message

    point = stamped(PointStamped)
    point.point.x = 1.0
    moved = buffer.transform(point, "map")
    assert moved.header.frame_id == "map"
    assert (moved.point.x, moved.point.y, moved.point.z) == pytest.approx((1.0, 3.0, 3.0))
    vector = stamped(Vector3Stamped)
    vector.vector.x = 1.0
    assert buffer.transform(vector, "map").vector.y == pytest.approx(1.0)
    pose = buffer.transform(stamped(PoseStamped), "map").pose
    assert pose.position.z == 3.0 and pose.orientation.z == pytest.approx(math.sqrt(0.5))
    uncertain = stamped(PoseWithCovarianceStamped)
    uncertain.pose.covariance[0] = 4.0
    covariance = buffer.transform(uncertain, "map").pose.covariance
    assert covariance[7] == pytest.approx(4.0) and covariance[0] == pytest.approx(0.0)
    with pytest.raises(tf2_ros.TypeException, match="TransformStamped"):
        buffer.transform(stamped(TransformStamped), "map")
    assert tf2_geometry_msgs.do_transform_pose(pose, transform("a", "b")).position.z == 3.0


def test_what_is_not_covered_says_so() -> None:
    with pytest.raises(NotImplementedError, match="BufferClient"):
        tf2_ros.BufferClient  # noqa: B018
