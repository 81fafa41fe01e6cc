"""The tree of coordinate frames over time. No ROS communication; thread-safe."""

import bisect
import math
import threading
from typing import Any

from rclpy_dds.interfaces import message_class
from rclpy_dds.rclpy.duration import Duration
from rclpy_dds.rclpy.logging import get_logger
from rclpy_dds.rclpy.time import Time

from .exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from .poses import IDENTITY, Pose, compose, interpolate, inverse, pose_of_message

DEFAULT_CACHE_TIME = Duration(seconds=10)
# tf2/buffer_core.cpp: how far the squared length of a quaternion may be from 1.
QUATERNION_TOLERANCE = 10e-3
_NS = 1_000_000_000


def nanoseconds_of(time: Any) -> int:
    """Return a time in nanoseconds, given as ``rclpy.time.Time`` or ``builtin_interfaces.msg.Time``.

    Raises:
        TypeError: neither.
    """
    if isinstance(time, Time):
        return time.nanoseconds
    try:
        return time.sec * _NS + time.nanosec
    except AttributeError:
        raise TypeError(f"A time must be a rclpy.time.Time, not {time!r}") from None


class _StaticFrame:
    """A frame that never moves in its parent."""

    is_static = True

    def __init__(self, parent: str, pose: Pose, authority: str) -> None:
        self.parent = parent
        self.pose = pose
        self.authority = authority

    def at(self, time_ns: int) -> tuple[str, Pose]:
        """Return parent and pose."""
        return self.parent, self.pose

    def latest(self) -> tuple[int, str]:
        """Return stamp and parent; the stamp 0 stands for any time."""
        return 0, self.parent


class _MovingFrame:
    """A frame with a history: stamps ascending, one entry per stamp."""

    is_static = False

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.entries: list[tuple[str, Pose]] = []
        self.authority = ""

    def insert(self, stamp: int, parent: str, pose: Pose, cache_ns: int) -> bool:
        """Add an entry; return False when it is older than what is kept."""
        if self.stamps and stamp < self.stamps[-1] - cache_ns:
            return False
        place = bisect.bisect_left(self.stamps, stamp)
        if place < len(self.stamps) and self.stamps[place] == stamp:
            self.entries[place] = (parent, pose)
        else:
            self.stamps.insert(place, stamp)
            self.entries.insert(place, (parent, pose))
        expired = bisect.bisect_left(self.stamps, self.stamps[-1] - cache_ns)
        # Not one by one: each deletion from the front moves all the rest.
        if expired > 64 or (expired and len(self.stamps) < 128):
            del self.stamps[:expired], self.entries[:expired]
        return True

    def at(self, time_ns: int) -> tuple[str, Pose]:
        """Return parent and pose at a time.

        Raises:
            ExtrapolationException: the time lies outside the history.
        """
        stamps = self.stamps
        place = bisect.bisect_left(stamps, time_ns)
        if place < len(stamps) and stamps[place] == time_ns:
            return self.entries[place]
        if len(stamps) == 1:
            raise ExtrapolationException(
                f"Lookup would require extrapolation at time {_shown(time_ns)}, but only time {_shown(stamps[0])} is "
                "in the buffer"
            )
        if place == len(stamps):
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the future.  Requested time {_shown(time_ns)} but the latest "
                f"data is at time {_shown(stamps[-1])}"
            )
        if place == 0:
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the past.  Requested time {_shown(time_ns)} but the earliest "
                f"data is at time {_shown(stamps[0])}"
            )
        (parent, older), (next_parent, newer) = self.entries[place - 1], self.entries[place]
        if parent != next_parent:
            return parent, older
        ratio = (time_ns - stamps[place - 1]) / (stamps[place] - stamps[place - 1])
        return parent, interpolate(older, newer, ratio)

    def latest(self) -> tuple[int, str]:
        """Return stamp and parent of the newest entry."""
        return self.stamps[-1], self.entries[-1][0]


class BufferCore:
    """Stores transforms and answers where one frame was in another at a time.

    The time 0 means the latest time for which all transforms on the way are known.
    """

    def __init__(self, cache_time: Duration | None = None) -> None:
        """
        Args:
            cache_time: for how long transforms are kept; 10 s when None.
        """
        self._cache_ns = (cache_time or DEFAULT_CACHE_TIME).nanoseconds
        self._frames: dict[str, _StaticFrame | _MovingFrame] = {}
        self._names: set[str] = set()
        self._lock = threading.RLock()

    # --- storing ---

    def set_transform(self, transform: Any, authority: str) -> None:
        """Store a ``geometry_msgs.msg.TransformStamped``; one that cannot be used is logged and left out."""
        self._insert(transform, authority, is_static=False)

    def set_transform_static(self, transform: Any, authority: str) -> None:
        """Store a transform that holds at all times."""
        self._insert(transform, authority, is_static=True)

    def _insert(self, transform: Any, authority: str, is_static: bool) -> None:
        parent, child = transform.header.frame_id.lstrip("/"), transform.child_frame_id.lstrip("/")
        pose = pose_of_message(transform.transform)
        reason = _reason_to_refuse(parent, child, pose)
        if reason is not None:
            get_logger("tf2").error(
                f"Ignoring transform from {parent!r} to child_frame_id {child!r} from authority {authority!r}: {reason}"
            )
            return
        stamp = nanoseconds_of(transform.header.stamp)
        with self._lock:
            frame = self._frames.get(child)
            if is_static:
                self._frames[child] = _StaticFrame(parent, pose, authority)
            else:
                if not isinstance(frame, _MovingFrame):
                    frame = self._frames[child] = _MovingFrame()
                if not frame.insert(stamp, parent, pose, self._cache_ns):
                    get_logger("tf2").warning(
                        f"TF_OLD_DATA ignoring data from the past for frame {child} at time {_shown(stamp)} according "
                        f"to authority {authority}",
                        throttle_duration_sec=5.0,
                    )
                    return
                frame.authority = authority
            self._names.update((parent, child))

    def clear(self) -> None:
        """Forget all transforms that are not static, and keep the names."""
        with self._lock:
            self._frames = {child: frame for child, frame in self._frames.items() if frame.is_static}

    # --- looking up ---

    def lookup_transform_core(self, target_frame: str, source_frame: str, time: Any) -> Any:
        """Return the transform that takes data from the source frame to the target frame at a time.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException, InvalidArgumentException
        """
        with self._lock:
            pose, stamp = self._lookup(target_frame, source_frame, nanoseconds_of(time), "lookupTransform")
        return _message(target_frame, source_frame, pose, stamp)

    def lookup_transform_full_core(
        self, target_frame: str, target_time: Any, source_frame: str, source_time: Any, fixed_frame: str
    ) -> Any:
        """Return the transform from the source frame at one time to the target frame at another.

        ``fixed_frame`` is a frame that did not move in between.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException, InvalidArgumentException
        """
        with self._lock:
            first, _ = self._lookup(fixed_frame, source_frame, nanoseconds_of(source_time), "lookupTransform")
            second, stamp = self._lookup(target_frame, fixed_frame, nanoseconds_of(target_time), "lookupTransform")
        return _message(target_frame, source_frame, compose(second, first), stamp)

    def can_transform_core(self, target_frame: str, source_frame: str, time: Any) -> tuple[bool, str]:
        """Return whether a transform is known, and why not."""
        try:
            with self._lock:
                self._lookup(target_frame, source_frame, nanoseconds_of(time), "canTransform")
        except TransformException as error:
            return False, str(error)
        return True, ""

    def can_transform_full_core(
        self, target_frame: str, target_time: Any, source_frame: str, source_time: Any, fixed_frame: str
    ) -> tuple[bool, str]:
        """Return whether a transform between two times is known, and why not."""
        for target, source, time in (
            (target_frame, fixed_frame, target_time),
            (fixed_frame, source_frame, source_time),
        ):
            possible, reason = self.can_transform_core(target, source, time)
            if not possible:
                return False, reason
        return True, ""

    def get_latest_common_time(self, target_frame: str, source_frame: str) -> Time:
        """Return the latest time for which all transforms between two frames are known.

        Raises:
            LookupException, ConnectivityException, InvalidArgumentException
        """
        with self._lock:
            self._check(target_frame, "get_latest_common_time")
            self._check(source_frame, "get_latest_common_time")
            return Time(nanoseconds=self._latest_common_ns(target_frame, source_frame))

    def _check(self, frame: str, function: str) -> None:
        if not isinstance(frame, str) or not frame or frame.startswith("/"):
            reason = "cannot start with a '/'" if frame else "cannot be empty"
            raise InvalidArgumentException(
                f'Invalid argument "{frame}" passed to {function} - in tf2 frame_ids {reason}'
            )
        if frame not in self._names:
            raise LookupException(f'"{frame}" passed to {function} does not exist. ')

    def _lookup(self, target: str, source: str, time_ns: int, function: str) -> tuple[Pose, int]:
        self._check(target, function)
        self._check(source, function)
        if target == source:
            return IDENTITY, time_ns
        if time_ns == 0:
            time_ns = self._latest_common_ns(target, source)
        try:
            return self._between(target, source, time_ns), time_ns
        except ExtrapolationException as error:
            raise ExtrapolationException(
                f"{error}, when looking up transform from frame [{source}] to frame [{target}]"
            ) from None

    def _between(self, target: str, source: str, time_ns: int) -> Pose:
        # Poses of the source in its ancestors, up to where the history ends.
        above: dict[str, Pose] = {source: IDENTITY}
        frame, pose = source, IDENTITY
        gap: ExtrapolationException | None = None
        while frame != target and frame in self._frames:
            try:
                parent, step = self._frames[frame].at(time_ns)
            except ExtrapolationException as error:
                gap = error  # the frames may still meet below this one
                break
            pose = compose(step, pose)
            frame = parent
            if frame in above:
                raise LookupException(
                    f"The tf tree is invalid because it contains a loop.\n{self.all_frames_as_string()}"
                )
            above[frame] = pose
        # Up from the target until an ancestor of the source is reached.
        frame, pose = target, IDENTITY
        visited = {target}
        while frame not in above:
            if frame not in self._frames:
                if gap is not None:
                    raise gap
                raise ConnectivityException(
                    f"Could not find a connection between {target!r} and {source!r} because they are not part of the "
                    "same tree. Tf has two or more unconnected trees."
                )
            frame, step = self._frames[frame].at(time_ns)
            pose = compose(step, pose)
            if frame in visited:
                raise LookupException(
                    f"The tf tree is invalid because it contains a loop.\n{self.all_frames_as_string()}"
                )
            visited.add(frame)
        return compose(inverse(pose), above[frame])

    def _ancestors(self, frame: str) -> dict[str, int | None]:
        """Return a frame and its present ancestors with the oldest of the newest stamps up to them."""
        oldest: int | None = None
        found: dict[str, int | None] = {frame: None}
        while frame in self._frames:
            stamp, frame = self._frames[frame].latest()
            if stamp and (oldest is None or stamp < oldest):
                oldest = stamp
            if frame in found:
                raise LookupException(
                    f"The tf tree is invalid because it contains a loop.\n{self.all_frames_as_string()}"
                )
            found[frame] = oldest
        return found

    def _latest_common_ns(self, target: str, source: str) -> int:
        above_source, above_target = self._ancestors(source), self._ancestors(target)
        common = next((frame for frame in above_target if frame in above_source), None)
        if common is None:
            raise ConnectivityException(
                f"Could not find a connection between {target!r} and {source!r} because they are not part of the same "
                "tree. Tf has two or more unconnected trees."
            )
        stamps = [stamp for stamp in (above_source[common], above_target[common]) if stamp is not None]
        return min(stamps, default=0)

    # --- listing ---

    def _frameExists(self, frame_id: str) -> bool:
        with self._lock:
            return frame_id in self._names

    def _getFrameStrings(self) -> list[str]:
        with self._lock:
            return sorted(self._names)

    def all_frames_as_string(self) -> str:
        """Return one line for each frame and its parent."""
        with self._lock:
            return "".join(
                f"Frame {child} exists with parent {frame.latest()[1]}.\n" for child, frame in self._frames.items()
            )

    def all_frames_as_yaml(self) -> str:
        """Return parent, broadcaster, rate and times of each frame as YAML."""
        with self._lock:
            if not self._frames:
                return "[]"
            lines = []
            for child, frame in self._frames.items():
                stamps = frame.stamps if isinstance(frame, _MovingFrame) else [0]
                length = (stamps[-1] - stamps[0]) / _NS
                rate = len(stamps) / max(length, 1e-4) if isinstance(frame, _MovingFrame) else 10000.0
                lines.append(
                    f"{child}: \n  parent: '{frame.latest()[1]}'\n  broadcaster: '{frame.authority}'\n"
                    f"  rate: {rate:.3f}\n  most_recent_transform: {_shown(stamps[-1])}\n"
                    f"  oldest_transform: {_shown(stamps[0])}\n  buffer_length: {length:.3f}\n"
                )
            return "".join(lines)


def _shown(time_ns: int) -> str:
    return f"{time_ns / _NS:.6f}"


def _reason_to_refuse(parent: str, child: str, pose: Pose) -> str | None:
    if not child or not parent:
        return "child_frame_id not set" if not child else "frame_id not set"
    if parent == child:
        return "frame_id and child_frame_id are the same"
    if not all(math.isfinite(value) for part in pose for value in part):
        return f"a value is not finite: {tuple(pose)}"
    if abs(sum(value * value for value in pose.rotation) - 1.0) >= QUATERNION_TOLERANCE:
        return f"the quaternion is not normalized: {pose.rotation}"
    return None


def _message(target: str, source: str, pose: Pose, stamp: int) -> Any:
    message = message_class("geometry_msgs/msg/TransformStamped")(child_frame_id=source)
    message.header.frame_id = target
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, _NS)
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = pose.translation
    rotation.x, rotation.y, rotation.z, rotation.w = pose.rotation
    return message
