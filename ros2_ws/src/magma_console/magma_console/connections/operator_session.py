"""One open page as an operator's device: what it asked for, how old that is, and when it counts. No clock, no I/O.

The page holds no clock that this machine could trust, so it sends back the newest time that it was told: what an intent
was based on is at least as old as that, however long either way took.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from magma_teleop.frames import to_base
from magma_teleop.operator_device import ArmPose, DeviceStatus, FloatArray, GripperToggle

FRAMES = ("base", "tool", "camera")
FUTURE_S = 0.001
"""Rounding of times in messages."""
LARGEST = 1e15
"""Of a number in a message: milliseconds since the machine was started are far less."""


class IntentError(ValueError):
    """A message of a page that cannot be followed; the text says why."""


@dataclass(frozen=True)
class Intent:
    """What a page wants of the arm now."""

    sequence: int
    as_of_s: float
    """the newest time that the page was told, on this machine's steady clock"""
    held: bool
    """whether the dead-man switch is held: key, pad or gamepad"""
    motion: tuple[float, ...] = (0.0,) * 6
    """x forward, y left, z up, then turns about these: -1 ... 1 of the full speed"""
    speed: float = 0.5
    """0 ... 1 of the full speed"""
    frame: str = "base"
    gripper_toggles: int = 0
    """how often the gripper's key was pressed since the page was opened"""

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Intent:
        """Raises IntentError for anything that is no intent."""
        try:
            sequence, as_of_ms, held = message["seq"], message["as_of"], message["held"]
            motion, speed, frame, toggles = message["motion"], message["speed"], message["frame"], message["gripper"]
        except KeyError as error:
            raise IntentError(f"{error.args[0]} is missing") from None
        numbers = [as_of_ms, speed, *motion] if isinstance(motion, list) and len(motion) == 6 else [None]
        if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in numbers):
            raise IntentError("as_of, speed and the six numbers of motion are numbers")
        if not all(abs(value) < LARGEST for value in numbers):  # NaN is not either
            raise IntentError("a number is not finite, or far too large")
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in (sequence, toggles)):
            raise IntentError("seq and gripper are whole numbers")
        if not isinstance(held, bool):
            raise IntentError("held is true or false")
        if frame not in FRAMES:
            raise IntentError(f"frame is one of {', '.join(FRAMES)}")
        if not 0.0 <= speed <= 1.0 or any(abs(value) > 1.0 for value in motion):
            raise IntentError("speed lies in 0 ... 1, and each number of motion in -1 ... 1")
        return cls(sequence, as_of_ms * 1e-3, held, tuple(map(float, motion)), float(speed), frame, toggles)


@dataclass(frozen=True)
class Limits:
    """Of the console's configuration, what an operator's page is held to."""

    step_period_s: float
    max_speed_m_s: float
    max_angular_speed_rad_s: float
    expiry_s: float


@dataclass(frozen=True)
class Motion:
    """A command that is due."""

    delta: FloatArray
    """(7,) m, rad, opening; base frame"""
    as_of_s: float
    """what it is based on was known then"""


class _Stage(Enum):
    NEUTRAL_WANTED = "neutral wanted"
    READY = "ready"
    ENGAGED = "engaged"


class OperatorSession:
    """From a page's intents to commands.

    It engages out of rest only: a page that was just opened, was silent, lost the arm or was stopped must first say
    that nothing is held. While it is held, a command goes out each step period, of nothing where nothing is moved, so
    that the arm is the operator's. Silence ends that, and nothing but the operator's hand begins it anew.
    """

    def __init__(self) -> None:
        self._stage = _Stage.NEUTRAL_WANTED
        self._intent: Intent | None = None
        self._toggles: int | None = None
        self._last_sent_s: float | None = None
        self._gripper = GripperToggle()
        self.notice = ""
        """why nothing moves although something is held; empty when nothing is wrong"""
        self.ever_held = False
        """whether the page was an operator's device at all, and not only looked"""

    @property
    def engaged(self) -> bool:
        """Whether the page asks for the arm now."""
        return self._stage is _Stage.ENGAGED

    def hear(self, intent: Intent, now_s: float, limits: Limits) -> None:
        """Takes an intent.

        Raises:
            IntentError: out of order, or based on what is too old; what was asked for before no longer counts.
        """
        self.expire(now_s, limits)
        if self._intent is not None and intent.sequence <= self._intent.sequence:
            raise IntentError(f"message {intent.sequence} came after {self._intent.sequence}")
        if intent.as_of_s > now_s + FUTURE_S:
            self.let_go("the page tells a time that has not come yet: reload it")
            raise IntentError(self.notice)
        self._intent = intent
        if now_s - intent.as_of_s > limits.expiry_s:
            self._stall(now_s - intent.as_of_s, intent.held)
            return
        if self._toggles is None or not intent.held:
            self._toggles = intent.gripper_toggles
        if not intent.held:
            self._stage = _Stage.READY
            self.notice = ""
        elif self._stage is _Stage.READY:
            self._stage = _Stage.ENGAGED
            self.ever_held = True
            self.notice = ""
        elif self._stage is _Stage.NEUTRAL_WANTED and not self.notice:
            self.notice = "let go once, then take hold"

    def expire(self, now_s: float, limits: Limits) -> None:
        """Ends what was not said again in time."""
        intent = self._intent
        if self.engaged and intent is not None and now_s - intent.as_of_s > limits.expiry_s:
            self._stall(now_s - intent.as_of_s, True)

    def _stall(self, age_s: float, held: bool) -> None:
        engaged = self.engaged
        self._stage = _Stage.NEUTRAL_WANTED
        self._gripper.forget()
        if engaged or held:
            self.notice = f"holding: the connection stalled for {age_s * 1e3:.0f} ms; let go once, then take hold"

    def let_go(self, why: str = "") -> None:
        """The arm is no longer this page's (stopped, handed back, taken by somebody else, or the page went away): what
        is held now must be let go before it counts again."""
        if self.engaged:
            self.notice = why or "let go once, then take hold"
        self._stage = _Stage.NEUTRAL_WANTED
        self._gripper.forget()

    def fresh(self, now_s: float, limits: Limits) -> bool:
        """Whether the page is heard."""
        return self._intent is not None and now_s - self._intent.as_of_s <= limits.expiry_s

    def due(self, now_s: float, limits: Limits) -> bool:
        """Whether the page has hold and a step period has passed."""
        last_s = self._last_sent_s
        waited = last_s is None or now_s - last_s >= limits.step_period_s * (1.0 - 1e-6)
        return self.engaged and waited

    def command(
        self, now_s: float, limits: Limits, arm: ArmPose | None, camera: Callable[[], FloatArray | None]
    ) -> Motion | None:
        """The command to send now, or None.

        Args:
            arm: None when the arm has not reported; then nothing is sent, since any opening could drop what is held.
            camera: looks up the orientation (4,) of camera_optical in the base frame; None when it is not known.
        """
        self.expire(now_s, limits)
        intent = self._intent
        if intent is None or not self.due(now_s, limits):
            return None
        if arm is None:
            self.notice = "the arm does not report where it is: is its driver or simulator running?"
            return None
        scale = limits.step_period_s * intent.speed
        motion = np.array(intent.motion) * scale
        motion[:3] *= limits.max_speed_m_s
        motion[3:] *= limits.max_angular_speed_rad_s
        try:
            motion = to_base(motion, intent.frame, arm.quaternion_xyzw, camera() if intent.frame == "camera" else None)
        except ValueError as error:
            self.notice = str(error)
            return None
        toggles, self._toggles = intent.gripper_toggles - (self._toggles or 0), intent.gripper_toggles
        if toggles % 2:
            self._gripper.toggle()
        self.notice = ""
        self._last_sent_s = now_s
        return Motion(np.append(motion, self._gripper.opening(arm.gripper_target)), intent.as_of_s)

    def status(self, connected: bool) -> DeviceStatus:
        """What TeleopStatus.msg carries."""
        text = self.notice or ("moving the arm" if self.engaged else "ready: hold to move the arm")
        return DeviceStatus(connected, self.engaged, text)


class HeldPress:
    """A button that counts only after it was held for a while, such as the re-arm."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def press(self, now_s: float) -> None:
        """It is pressed, or still is."""
        if self._since_s is None:
            self._since_s = now_s

    def release(self) -> None:
        """It is let go, or cannot be known to be held."""
        self._since_s = None

    def held_for(self, hold_s: float, now_s: float) -> bool:
        """Whether it was held long enough; if so, it counts once."""
        if self._since_s is None or now_s - self._since_s < hold_s:
            return False
        self._since_s = None
        return True
