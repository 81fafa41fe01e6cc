"""Between our messages and plain numpy data (`magma_contracts`); the only place that knows both.

Functions named `..._from_msg` and `..._to_msg`. They copy; nothing they return shares memory with a message, except
`image_from_msg`, which says so.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import EndEffectorDelta as EndEffectorDeltaMsg
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from magma_interfaces.msg import StageTime
from numpy.typing import ArrayLike, NDArray
from sensor_msgs.msg import Image

from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import DELTA_SIZE, ActionChunk, EndEffectorDelta
from magma_contracts.arm_state import EndEffectorState
from magma_contracts.text import printable

NANOSECONDS = 1_000_000_000
NAME_LENGTH = 200
"""Characters of a name that comes with a message."""


def stamp_to_ns(stamp: Time) -> int:
    """builtin_interfaces/Time -> nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def ns_to_stamp(stamp_ns: int) -> Time:
    """Nanoseconds -> builtin_interfaces/Time (int32 seconds: until 2038)."""
    seconds, nanoseconds = divmod(int(stamp_ns), NANOSECONDS)
    return Time(sec=seconds, nanosec=nanoseconds)


def vector3_from_array(values: NDArray[np.floating]) -> Vector3:
    """(3,) -> geometry_msgs/Vector3."""
    return Vector3(x=float(values[0]), y=float(values[1]), z=float(values[2]))


def pose_from_arrays(position: NDArray[np.floating], quaternion_xyzw: NDArray[np.floating]) -> Pose:
    """Position (3,) m and quaternion xyzw (4,) -> geometry_msgs/Pose."""
    return Pose(
        position=Point(x=float(position[0]), y=float(position[1]), z=float(position[2])),
        orientation=Quaternion(
            x=float(quaternion_xyzw[0]),
            y=float(quaternion_xyzw[1]),
            z=float(quaternion_xyzw[2]),
            w=float(quaternion_xyzw[3]),
        ),
    )


def pose_to_arrays(pose: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """geometry_msgs/Pose -> position (3,) m and quaternion xyzw (4,)."""
    position, orientation = pose.position, pose.orientation
    return (
        np.array([position.x, position.y, position.z], dtype=np.float64),
        np.array([orientation.x, orientation.y, orientation.z, orientation.w], dtype=np.float64),
    )


def delta_to_msg(delta: ArrayLike, stamp_ns: int, frame: str = "base", source: str = "") -> EndEffectorDeltaMsg:
    """A delta (7,) -> EndEffectorDelta.

    Raises:
        ValueError: the shape is not (7,).
    """
    values = np.asarray(delta, dtype=np.float64)
    if values.shape != (DELTA_SIZE,):
        raise ValueError(f"a delta has shape (7,): dx dy dz rx ry rz gripper; got shape {values.shape}")
    message = EndEffectorDeltaMsg()
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.header.frame_id = frame
    message.translation = vector3_from_array(values[0:3])
    message.rotation = vector3_from_array(values[3:6])
    message.gripper = float(values[6])
    message.source = source
    return message


def _delta_values(message: EndEffectorDeltaMsg) -> tuple[float, ...]:
    translation, rotation = message.translation, message.rotation
    return (translation.x, translation.y, translation.z, rotation.x, rotation.y, rotation.z, message.gripper)


def delta_from_msg(message: EndEffectorDeltaMsg) -> EndEffectorDelta:
    """EndEffectorDelta message -> dataclass; values are not judged, the source's name is made printable."""
    return EndEffectorDelta(
        delta=np.array(_delta_values(message), dtype=np.float64),
        stamp_ns=stamp_to_ns(message.header.stamp),
        frame=message.header.frame_id,
        source=printable(message.source, NAME_LENGTH),
    )


def chunk_to_msg(chunk: ActionChunk) -> ActionChunkMsg:
    """ActionChunk dataclass -> message; every step carries the chunk's stamp and its frame.

    Raises:
        ValueError: deltas are not (n, 7).
    """
    deltas = np.asarray(chunk.deltas, dtype=np.float64)
    if deltas.ndim != 2 or deltas.shape[1] != DELTA_SIZE:
        raise ValueError(f"the deltas of a chunk have shape (n, 7), got shape {deltas.shape}")
    frames: Sequence[str] = chunk.step_frames or [chunk.frame] * len(deltas)
    if len(frames) != len(deltas):
        raise ValueError(f"a chunk of {len(deltas)} steps has {len(frames)} step frames")
    message = ActionChunkMsg()
    message.header.stamp = ns_to_stamp(chunk.stamp_ns)
    message.header.frame_id = chunk.frame
    message.policy = chunk.policy
    message.instruction = chunk.instruction
    message.sequence = int(chunk.sequence)
    message.step_period_s = float(chunk.step_period_s)
    message.steps = [delta_to_msg(row, chunk.stamp_ns, frame) for row, frame in zip(deltas, frames, strict=True)]
    message.stages = [StageTime(name=name, duration_ms=float(value)) for name, value in chunk.stage_ms.items()]
    message.refusal = chunk.refusal
    return message


def chunk_from_msg(message: ActionChunkMsg) -> ActionChunk:
    """ActionChunk message -> dataclass; values are not judged, an empty chunk gives deltas of shape (0, 7). Names and a
    refusal are made printable, since they go on to logs; a refusal stays one, whatever it says."""
    rows = [_delta_values(step) for step in message.steps]
    return ActionChunk(
        deltas=np.array(rows, dtype=np.float64).reshape(len(rows), DELTA_SIZE),
        stamp_ns=stamp_to_ns(message.header.stamp),
        step_period_s=float(message.step_period_s),
        policy=printable(message.policy, NAME_LENGTH),
        instruction=message.instruction,
        sequence=int(message.sequence),
        frame=message.header.frame_id,
        step_frames=tuple(step.header.frame_id for step in message.steps),
        stage_ms={printable(stage.name, NAME_LENGTH): float(stage.duration_ms) for stage in message.stages},
        refusal=message.refusal and (printable(message.refusal) or "it does not say why"),
    )


def action_spec_to_msg(spec: ActionSpec) -> ActionSpecMsg:
    """ActionSpec dataclass -> message."""
    return ActionSpecMsg(
        policy=spec.policy,
        horizon=int(spec.horizon),
        step_period_s=float(spec.step_period_s),
        frame=spec.frame,
        rotation=spec.rotation,
        gripper=spec.gripper,
        statistics_key=spec.statistics_key,
        camera=spec.camera,
        image_height=int(spec.image_height),
        image_width=int(spec.image_width),
        proprioception=bool(spec.proprioception),
    )


def action_spec_from_msg(message: ActionSpecMsg) -> ActionSpec:
    """ActionSpec message -> dataclass; names are made printable, since they go on to logs."""
    return ActionSpec(
        policy=printable(message.policy, NAME_LENGTH),
        horizon=int(message.horizon),
        step_period_s=float(message.step_period_s),
        frame=printable(message.frame, NAME_LENGTH),
        rotation=printable(message.rotation, NAME_LENGTH),
        gripper=printable(message.gripper, NAME_LENGTH),
        statistics_key=printable(message.statistics_key, NAME_LENGTH),
        camera=printable(message.camera, NAME_LENGTH),
        image_height=int(message.image_height),
        image_width=int(message.image_width),
        proprioception=bool(message.proprioception),
    )


def state_to_msg(state: EndEffectorState) -> EndEffectorStateMsg:
    """EndEffectorState dataclass -> message."""
    message = EndEffectorStateMsg()
    message.header.stamp = ns_to_stamp(state.stamp_ns)
    message.header.frame_id = state.frame
    message.pose = pose_from_arrays(state.position, state.quaternion_xyzw)
    message.target_pose = pose_from_arrays(state.target_position, state.target_quaternion_xyzw)
    message.gripper = float(state.gripper)
    message.gripper_target = float(state.gripper_target)
    return message


def state_from_msg(message: EndEffectorStateMsg) -> EndEffectorState:
    """EndEffectorState message -> dataclass; values are not judged."""
    position, quaternion = pose_to_arrays(message.pose)
    target_position, target_quaternion = pose_to_arrays(message.target_pose)
    return EndEffectorState(
        stamp_ns=stamp_to_ns(message.header.stamp),
        position=position,
        quaternion_xyzw=quaternion,
        target_position=target_position,
        target_quaternion_xyzw=target_quaternion,
        gripper=float(message.gripper),
        gripper_target=float(message.gripper_target),
        frame=message.header.frame_id,
    )


def image_to_msg(rgb: NDArray[np.uint8], stamp_ns: int, frame_id: str = "camera_optical") -> Image:
    """An rgb8 picture (H, W, 3) uint8 -> sensor_msgs/Image with encoding rgb8 and no row padding. One copy.

    Raises:
        ValueError: not (H, W, 3), or not uint8.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"an rgb8 picture is (H, W, 3) uint8, got shape {rgb.shape} of {rgb.dtype}")
    message = Image()
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.header.frame_id = frame_id
    message.height, message.width = int(rgb.shape[0]), int(rgb.shape[1])
    message.encoding = "rgb8"
    message.is_bigendian = 0
    message.step = 3 * message.width
    # An array.array is the one type that rclpy takes for uint8[] without looking at each element.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(rgb).data.cast("B"))
    message.data = data
    return message


def image_from_msg(message: Image) -> NDArray[np.uint8]:
    """An rgb8 sensor_msgs/Image -> (H, W, 3) uint8, a view of the message's own data where rows are not padded.

    For /magma/frame, which is always rgb8; camera drivers' other encodings are `magma_camera`'s business.

    Raises:
        ValueError: another encoding, or a size that does not agree with the data.
    """
    if message.encoding != "rgb8":
        raise ValueError(f"expected an rgb8 picture, got encoding {message.encoding!r}")
    height, width, step = int(message.height), int(message.width), int(message.step)
    data: NDArray[np.uint8] = np.frombuffer(_as_buffer(message.data), dtype=np.uint8)
    if width < 1 or height < 1 or step < 3 * width or data.size < height * step:
        raise ValueError(
            f"a picture of {width} x {height} with {step} bytes per row does not agree with {data.size} bytes of data"
        )
    rows = data[: height * step].reshape(height, step)
    return rows[:, : 3 * width].reshape(height, width, 3)


def _as_buffer(data: Any) -> Any:
    return data if not isinstance(data, (list, tuple)) else bytes(data)
