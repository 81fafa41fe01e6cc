"""From the pose of a leader arm to motions of the robot. No clock, no I/O, no ROS."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from magma_contracts.geometry.rotations import (
    axis_angle_from_quaternion,
    conjugate,
    multiply,
    quaternion_from_axis_angle,
)
from magma_teleop.device_profile import LeaderProfile
from magma_teleop.operator_device import ArmPose, DeviceStatus, FloatArray


@dataclass(frozen=True)
class LeaderSample:
    """Where the leader is, in its own base frame."""

    position: FloatArray
    """(3,) m"""
    quaternion_xyzw: FloatArray
    """(4,)"""
    gripper: float
    """opening 0 ... 1"""


class LeaderOperator:
    """Follows how the leader moves, from where the robot is when it is taken over: neither arm snaps to the other.

    `_followed` is the leader's pose that the robot has been told to follow so far. What the leader moved beyond it is
    sent at no more than the profile's speed; what cannot be caught up with is given up.
    """

    def __init__(self, profile: LeaderProfile, step_period_s: float) -> None:
        self._profile = profile
        self._period_s = step_period_s
        self._sample: LeaderSample | None = None
        self._heard_s: float | None = None
        self._recent: deque[tuple[float, FloatArray]] = deque()
        self._moved_s: float | None = None
        self._pedal = False
        self._pedal_heard_s: float | None = None
        self._rest_wanted = True
        self._engaged = False
        self._followed: LeaderSample | None = None
        self._gripper_from: float | None = None
        self._gripper_follows = False
        self._last_sent_s: float | None = None
        self._notice = ""

    def on_sample(self, sample: LeaderSample, now_s: float) -> None:
        """Takes a pose of the leader."""
        self._expire(now_s)
        norm = float(np.linalg.norm(sample.quaternion_xyzw))
        if not (np.isfinite(sample.position).all() and abs(norm - 1.0) < 1e-2 and np.isfinite(sample.gripper)):
            self._lose()
            self._notice = "the leader reports a pose that makes no sense"
            return
        self._notice = ""
        self._sample, self._heard_s = sample, now_s
        self._recent.append((now_s, sample.position))
        while now_s - self._recent[0][0] > self._profile.touch_window_s:
            self._recent.popleft()
        reach = max(float(np.linalg.norm(sample.position - position)) for _, position in self._recent)
        moved = reach > self._profile.touch_threshold_m
        if moved:
            self._moved_s = now_s
        if self._profile.activation == "touch":
            wanted = self._moved_s is not None and now_s - self._moved_s <= self._profile.touch_release_s
            self._want(wanted)

    def on_pedal(self, pressed: bool, now_s: float) -> None:
        """Takes the state of the dead-man pedal; it must be repeated, since its silence counts as released."""
        self._pedal, self._pedal_heard_s = pressed, now_s
        self._expire(now_s)
        if self._profile.activation == "dead_man" and self._sample is not None:
            self._want(pressed)

    def command(self, now_s: float, arm: ArmPose | None) -> FloatArray | None:
        """The motion to send now, a delta (7,) in the base frame, or None."""
        self._expire(now_s)
        sample, followed = self._sample, self._followed
        if not self._engaged or sample is None or followed is None:
            return None
        if arm is None:
            self._notice = "no end effector state yet: is the arm driver or simulator running?"
            return None
        if self._last_sent_s is not None and now_s - self._last_sent_s < self._period_s * (1.0 - 1e-6):
            return None
        self._last_sent_s = now_s
        profile = self._profile
        ahead = sample.position - followed.position
        turned = axis_angle_from_quaternion(multiply(sample.quaternion_xyzw, conjugate(followed.quaternion_xyzw)))
        step = _shortened(ahead, profile.max_speed_m_s * self._period_s / profile.scale)
        turn = (
            _shortened(turned, profile.max_angular_speed_rad_s * self._period_s / profile.rotation_scale)
            if profile.rotation_scale > 0.0
            else turned
        )
        left, left_turn = _shortened(ahead - step, profile.max_lag_m), _shortened(turned - turn, profile.max_lag_rad)
        self._followed = LeaderSample(
            sample.position - left,
            multiply(quaternion_from_axis_angle(-left_turn), sample.quaternion_xyzw),
            sample.gripper,
        )
        return np.concatenate(
            [step * profile.scale, turn * profile.rotation_scale, [self._opening(sample.gripper, arm)]]
        )

    def let_go(self) -> None:
        """The operator no longer has the arm: nothing is sent until the leader was at rest (or the pedal released) and
        is taken up again."""
        self._engaged = False
        self._rest_wanted = True
        self._followed = None

    def status(self, now_s: float) -> DeviceStatus:
        """What the device is doing."""
        self._expire(now_s)
        if self._sample is None:
            text = "not heard: is the leader's driver running?"
        elif self._engaged:
            text = "has the arm"
        elif self._rest_wanted:
            text = "hold the leader still and release the pedal once, then take over"
        else:
            text = "ready"
        return DeviceStatus(self._sample is not None, self._engaged, self._notice or text)

    def _want(self, wanted: bool) -> None:
        if not wanted:
            self._rest_wanted = False
            self._engaged = False
            self._followed = None
        elif not self._rest_wanted and not self._engaged:
            self._engaged = True
            self._followed = self._sample
            self._gripper_from = self._sample.gripper if self._sample is not None else None
            self._gripper_follows = False

    def _opening(self, leader: float, arm: ArmPose) -> float:
        opening = min(1.0, max(0.0, leader))
        if self._gripper_from is not None and abs(leader - self._gripper_from) > self._profile.gripper_pick_up:
            self._gripper_follows = True
        return opening if self._gripper_follows else arm.gripper_target

    def _expire(self, now_s: float) -> None:
        if self._heard_s is not None and now_s - self._heard_s > self._profile.device_timeout_s:
            self._lose()
        if (
            self._profile.activation == "dead_man"
            and self._pedal
            and self._pedal_heard_s is not None
            and now_s - self._pedal_heard_s > self._profile.device_timeout_s
        ):
            self._pedal = False
            self.let_go()

    def _lose(self) -> None:
        self._sample, self._heard_s, self._moved_s = None, None, None
        self._recent.clear()
        self.let_go()


def _shortened(vector: FloatArray, limit: float) -> FloatArray:
    length = float(np.linalg.norm(vector))
    return vector if length <= limit else vector * (limit / length)
