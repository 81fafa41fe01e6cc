"""Where frames are in each other, by the whole tree that /tf and /tf_static tell, as tf2 keeps it.

No topics and no clock of its own: the caller feeds it what was published and says which moment it asks about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.time import Time
from tf2_ros import BufferCore, TransformException

from magma_contracts.geometry.rotations import matrix_from_quaternion

FloatArray = NDArray[np.float64]

NORM_TOLERANCE = 4e-3
"""How far the norm of a quaternion may be from one: rounded values are, and tf2 takes no more either."""


class UnknownPoseError(ValueError):
    """A frame whose place is not known; the text says why."""


@dataclass(frozen=True)
class FramePose:
    """Where a frame is in another."""

    matrix: FloatArray
    """(4, 4): points in the frame to points in the other one, metres"""
    quaternion_xyzw: FloatArray
    """(4,), of norm one"""
    stamp_ns: int
    """what it holds for; 0 = at all times"""


class TransformTree:
    """Collects transforms and says where one frame is in another."""

    def __init__(self, cache_s: float = 10.0) -> None:
        """
        Args:
            cache_s: for how long transforms that change are kept, by their stamps.
        """
        self._buffer = BufferCore(Duration(seconds=cache_s))
        self._refused: dict[str, str] = {}

    def add(self, transform: TransformStamped, static: bool) -> str | None:
        """Takes a transform of /tf, or of /tf_static. Returns why it is not taken, or None."""
        child, parent = transform.child_frame_id, transform.header.frame_id
        refusal = _refusal(transform)
        if refusal is not None:
            self._refused[child.lstrip("/")] = f"the transform from {parent!r} to {child!r} is refused: {refusal}"
            return self._refused[child.lstrip("/")]
        self._refused.pop(child.lstrip("/"), None)
        if static:
            self._buffer.set_transform_static(transform, "tf_static")
        else:
            self._buffer.set_transform(transform, "tf")
        return None

    def pose(self, frame: str, base: str, stamp_ns: int, max_age_s: float) -> FramePose:
        """Where `frame` was in `base` at a moment, between two reports interpolated.

        Args:
            stamp_ns: the moment.
            max_age_s: how old the newest report before it may be, of what moves.

        Raises:
            UnknownPoseError: there is no way between the two frames, or what is known of it is too old.
        """
        try:
            latest_ns = self._buffer.get_latest_common_time(base, frame).nanoseconds
            age_s = (stamp_ns - latest_ns) * 1e-9
            if latest_ns and age_s > max_age_s:
                raise UnknownPoseError(f"where {frame!r} is in {base!r} was last told {age_s:.2f} s ago")
            at_ns = min(stamp_ns, latest_ns)
            message = self._buffer.lookup_transform_core(base, frame, Time(nanoseconds=at_ns))
        except TransformException as error:
            raise UnknownPoseError(self._why(frame, base, str(error).strip())) from None
        t, r = message.transform.translation, message.transform.rotation
        quaternion = np.array([r.x, r.y, r.z, r.w], dtype=np.float64)
        quaternion /= np.linalg.norm(quaternion)
        matrix = np.eye(4)
        matrix[:3, :3] = matrix_from_quaternion(quaternion)
        matrix[:3, 3] = t.x, t.y, t.z
        return FramePose(matrix, quaternion, at_ns)

    def _why(self, frame: str, base: str, reason: str) -> str:
        """tf2's reason, and what was refused on the way there."""
        refused = "; ".join(text for text in self._refused.values())
        return f"/tf says no way from {base!r} to {frame!r}: {reason}" + (f" ({refused})" if refused else "")


def _refusal(item: TransformStamped) -> str | None:
    child, parent = item.child_frame_id.lstrip("/"), item.header.frame_id.lstrip("/")
    if not child or not parent or child == parent:
        return "it names no two frames"
    t, r = item.transform.translation, item.transform.rotation
    if not all(math.isfinite(value) for value in (t.x, t.y, t.z, r.x, r.y, r.z, r.w)):
        return "a value is not finite"
    norm = math.sqrt(r.x**2 + r.y**2 + r.z**2 + r.w**2)
    if abs(norm - 1.0) > NORM_TOLERANCE:
        return f"the norm of its quaternion is {norm:.3f}, not 1"
    return None
