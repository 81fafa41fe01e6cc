"""From the state of a gamepad or a 3D mouse (sensor_msgs/Joy) to motions and requests. No clock, no I/O, no ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from magma_teleop.device_profile import MOTIONS, AxisSource, DeviceProfile
from magma_teleop.frames import to_base
from magma_teleop.keys import Request
from magma_teleop.operator_device import ArmPose, DeviceStatus, FloatArray, GripperToggle


@dataclass(frozen=True)
class JoySample:
    """One sensor_msgs/Joy."""

    axes: tuple[float, ...]
    buttons: tuple[int, ...]


class _Stage(Enum):
    LOST = "lost"
    NEUTRAL_WANTED = "neutral wanted"
    READY = "ready"
    ENGAGED = "engaged"


class JoyOperator:
    """One device and its profile.

    The device engages only out of rest: after it was lost, found, or lost the arm, every stick must be let go and the
    dead-man switch released once. So a gamepad that is plugged in with a stuck stick, or comes back from a lost radio
    link, moves nothing.
    """

    def __init__(self, profile: DeviceProfile, step_period_s: float) -> None:
        self._profile = profile
        self._period_s = step_period_s
        self._scale = np.array([profile.max_speed_m_s] * 3 + [profile.max_angular_speed_rad_s] * 3) * step_period_s
        self._stage = _Stage.LOST
        self._sample: JoySample | None = None
        self._reported: set[int] = set()
        self._heard_s: float | None = None
        self._moved_s = 0.0
        self._last_sent_s: float | None = None
        self._gripper = GripperToggle()
        self._gripper_wanted = False
        self._notice = ""

    def on_sample(self, sample: JoySample, now_s: float) -> list[Request]:
        """Takes a message of the device; returns what has to be carried out at once. Motions wait for `command`."""
        self._expire(now_s)
        problem = self._problem(sample)
        if problem is not None:
            # Not "no input": a device that sends nonsense must not go on moving the arm.
            self._stage, self._sample, self._notice = _Stage.LOST, None, problem
            self._heard_s = None
            self._reported.clear()
            return []
        # Drivers say 0 of an axis until it is touched for the first time.
        self._reported.update(index for index, value in enumerate(sample.axes) if value != 0.0)
        before, self._sample, self._heard_s = self._sample, sample, now_s
        self._notice = ""
        requests = self._requests(before, sample) if before is not None else []
        moved = self._deflected(sample)
        if moved:
            self._moved_s = now_s
        held = self._held(sample, self._profile.buttons.dead_man)
        if self._stage in (_Stage.LOST, _Stage.NEUTRAL_WANTED):
            self._stage = _Stage.NEUTRAL_WANTED if moved or held else _Stage.READY
        elif self._profile.activation == "dead_man":
            self._engage(held)
        else:
            self._engage(moved or self._gripper_wanted or now_s - self._moved_s <= self._profile.touch_release_s)
        if any(request in (Request.HAND_BACK, Request.ESTOP) for request in requests):
            self.let_go()
        return requests

    def due(self, now_s: float) -> bool:
        """Whether the operator has the arm and a step period has passed: otherwise `command` sends nothing."""
        last_s = self._last_sent_s
        waited = last_s is None or now_s - last_s >= self._period_s * (1.0 - 1e-6)
        return self._stage is _Stage.ENGAGED and waited

    def command(self, now_s: float, arm: ArmPose | None, camera_xyzw: FloatArray | None) -> FloatArray | None:
        """The motion to send now, a delta (7,) in the base frame, or None.

        While the operator holds the dead-man switch and moves nothing, it is a motion of nothing: the arm is the
        operator's, and stands still.

        Args:
            now_s: monotonic time.
            arm: None when the arm has not reported; then nothing is sent.
            camera_xyzw: orientation of camera_optical in the base frame, where known; looked at only if `due`.
        """
        self._expire(now_s)
        sample = self._sample
        if self._stage is not _Stage.ENGAGED or sample is None:
            return None
        if self._profile.activation == "touch" and not (
            self._gripper_wanted or now_s - self._moved_s <= self._profile.touch_release_s
        ):
            self._stage = _Stage.READY
            return None
        if arm is None:
            self._notice = "no end effector state yet: is the arm driver or simulator running?"
            return None
        if not self.due(now_s):
            return None
        motion = self._deflection(sample) * self._scale
        if self._held(sample, self._profile.buttons.slow):
            motion *= self._profile.slow_factor
        try:
            motion = to_base(motion, self._profile.frame, arm.quaternion_xyzw, camera_xyzw)
        except ValueError as error:
            self._notice = str(error)
            return None
        if self._gripper_wanted:
            self._gripper.toggle()
            self._gripper_wanted = False
        self._last_sent_s = now_s
        return np.append(motion, self._gripper.opening(arm.gripper_target))

    def let_go(self) -> None:
        """The operator no longer has the arm (handed back, stopped, taken by somebody else): nothing more is sent until
        the device was let go and taken up again."""
        self._gripper.forget()
        self._gripper_wanted = False
        if self._stage is not _Stage.LOST:
            self._stage = _Stage.NEUTRAL_WANTED

    def status(self, now_s: float) -> DeviceStatus:
        """What the device is doing."""
        self._expire(now_s)
        texts = {
            _Stage.LOST: "not heard: is it plugged in, and joy_node or spacenav_node running?",
            _Stage.NEUTRAL_WANTED: "let go of sticks and buttons once, then take over",
            _Stage.READY: "ready",
            _Stage.ENGAGED: "has the arm",
        }
        return DeviceStatus(
            self._stage is not _Stage.LOST, self._stage is _Stage.ENGAGED, self._notice or texts[self._stage]
        )

    def _expire(self, now_s: float) -> None:
        if self._heard_s is not None and now_s - self._heard_s > self._profile.device_timeout_s:
            self._stage, self._sample, self._heard_s = _Stage.LOST, None, None
            self._reported.clear()
            self._gripper.forget()
            self._gripper_wanted = False

    def _engage(self, wanted: bool) -> None:
        if wanted:
            self._stage = _Stage.ENGAGED
        elif self._stage is _Stage.ENGAGED:
            self._stage = _Stage.READY

    def _requests(self, before: JoySample, sample: JoySample) -> list[Request]:
        """What was pressed since the last message."""
        buttons = self._profile.buttons

        def pressed(index: int | None) -> bool:
            return self._held(sample, index) and not self._held(before, index)

        requests = []
        if pressed(buttons.estop):
            requests.append(Request.ESTOP)
        if pressed(buttons.hand_back):
            requests.append(Request.HAND_BACK)
        if pressed(buttons.rearm) and (buttons.dead_man is None or self._held(sample, buttons.dead_man)):
            requests.append(Request.REARM)
        if pressed(buttons.gripper) and self._stage in (_Stage.READY, _Stage.ENGAGED):
            # With a dead-man switch the gripper obeys only while that is held.
            self._gripper_wanted = self._profile.activation == "touch" or self._held(sample, buttons.dead_man)
        return requests

    def _problem(self, sample: JoySample) -> str | None:
        if not all(math.isfinite(value) for value in sample.axes):
            return "the device reports an axis that is not a number"
        buttons = self._profile.buttons
        sources = [source for sources in self._profile.axes.values() for source in sources]
        most_axis = max((source.axis for source in sources if source.axis is not None), default=-1)
        indices = [source.button for source in sources] + [
            buttons.dead_man,
            buttons.slow,
            buttons.gripper,
            buttons.hand_back,
            buttons.estop,
            buttons.rearm,
        ]
        most_button = max((index for index in indices if index is not None), default=-1)
        if most_axis >= len(sample.axes) or most_button >= len(sample.buttons):
            return (
                f"the device has {len(sample.axes)} axes and {len(sample.buttons)} buttons, profile "
                f"{self._profile.name!r} needs axis {most_axis} and button {most_button}: choose its own profile"
            )
        return None

    def _deflected(self, sample: JoySample) -> bool:
        return bool(np.any(self._deflection(sample) != 0.0))

    def _deflection(self, sample: JoySample) -> FloatArray:
        """(6,): -1 ... 1 of the full speed for each motion."""
        values = [
            sum(self._value(source, sample) for source in self._profile.axes.get(motion, ())) for motion in MOTIONS
        ]
        return np.clip(np.array(values, dtype=np.float64), -1.0, 1.0)

    def _value(self, source: AxisSource, sample: JoySample) -> float:
        if source.button is not None:
            return source.scale * float(self._held(sample, source.button))
        axis = source.axis or 0
        if source.rest != 0.0 and axis not in self._reported:
            # Where it is is unknown; 0 is half the way of a trigger that rests at one end.
            return 0.0
        raw = sample.axes[axis] - source.rest
        # From a rest at one end the whole way to the other is two.
        way = raw / (1.0 + abs(source.rest))
        beyond = (abs(way) - self._profile.deadzone) / (1.0 - self._profile.deadzone)
        if beyond <= 0.0:
            return 0.0
        return source.scale * math.copysign(min(1.0, beyond) ** self._profile.curve, way)

    @staticmethod
    def _held(sample: JoySample, index: int | None) -> bool:
        return index is not None and index < len(sample.buttons) and bool(sample.buttons[index])
