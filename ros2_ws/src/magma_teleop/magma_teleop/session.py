"""What the operator's keys do: motions, requests, and a line for a new instruction. No terminal, no clock, no ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_teleop.config import KeyboardConfig
from magma_teleop.keys import BACKSPACE, CTRL_X, ENTER, ESCAPE, REQUESTS, MotionKeys, Request

MAX_INSTRUCTION_LENGTH = 200


@dataclass(frozen=True)
class NewInstruction:
    """The operator typed an instruction."""

    text: str


class KeyboardSession:
    """Either keys move and request, or they are typed into an instruction; the emergency stop works in both."""

    def __init__(self, config: KeyboardConfig) -> None:
        self.reconfigure(config)
        self.typed: str | None = None
        """the instruction typed so far; None when keys move the arm"""
        self.help_due = True
        """whether the help is to be shown, now or again"""
        self.notice = ""
        """the last thing to tell the operator"""

    def reconfigure(self, config: KeyboardConfig) -> None:
        """Takes new step sizes and times; what was pressed is forgotten."""
        self._motion = MotionKeys(
            config.step_translation_m, config.step_rotation_rad, config.step_period_s, config.key_hold_s
        )

    def press(self, key: str, now_s: float) -> Request | NewInstruction | None:
        """Takes one key; returns what has to be carried out outside, if anything. Motions wait for `command`."""
        if key == CTRL_X:
            self.typed = None
            return self._request(Request.ESTOP, now_s)
        if self.typed is not None:
            return self._type(key)
        self.notice = ""
        request = REQUESTS.get(key)
        if request is not None:
            return self._request(request, now_s)
        if not self._motion.press(key, now_s) and key != ESCAPE:
            self.notice = f"key {key!r} does nothing; ? for help"
        return None

    def command(self, now_s: float, gripper_target: float | None) -> NDArray[np.float64] | None:
        """The motion to send now, (7,), or None.

        Args:
            now_s: monotonic time.
            gripper_target: opening that the arm holds now; None when the arm has not reported yet, and then nothing is
                sent, since any opening could drop what the gripper holds.
        """
        if gripper_target is None:
            if self._motion.waiting:
                self.notice = "no end effector state yet: is the arm driver or simulator running?"
            self._motion.forget()
            return None
        return self._motion.poll(now_s, gripper_target)

    def operator_lost_the_arm(self) -> None:
        """Call when the controller left TELEOP: what was pressed before must not take over again."""
        self._motion.forget()

    def _request(self, request: Request, now_s: float) -> Request | None:
        if request is Request.TOGGLE_GRIPPER:
            self._motion.toggle_gripper(now_s)
            return None
        if request is Request.HELP:
            self.help_due = True
            return None
        self._motion.forget()
        if request is Request.INSTRUCTION:
            self.typed = ""
            return None
        return request

    def _type(self, key: str) -> NewInstruction | None:
        text = self.typed or ""
        if key == ENTER:
            self.typed = None
            if text.strip():
                return NewInstruction(text.strip())
            self.notice = "no new instruction"
        elif key == ESCAPE:
            self.typed = None
            self.notice = "no new instruction"
        elif key == BACKSPACE:
            self.typed = text[:-1]
        elif len(key) == 1 and len(text) < MAX_INSTRUCTION_LENGTH:
            self.typed = text + key
        return None
