"""What the operator's keys do: motions, requests, and a line for a new instruction. No terminal, no clock, no ROS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_teleop.config import KeyboardConfig
from magma_teleop.keys import (
    BACKSPACE,
    CTRL_X,
    ENTER,
    ESCAPE,
    MOTIONS,
    PASTE_BEGINS,
    PASTE_ENDS,
    REQUESTS,
    MotionKeys,
    Request,
)

MAX_INSTRUCTION_LENGTH = 200
PASTED_KEYS = 4
"""So many different keys within one look at the terminal (20 ms) are no person's fingers."""
RELEASED_S = 0.7
"""A key that did not come for so long was let go: the first repeat of a held key comes sooner, and all others do."""


@dataclass(frozen=True)
class NewInstruction:
    """The operator typed an instruction."""

    text: str


class KeyboardSession:
    """Either keys move and request, or they are typed into an instruction; the emergency stop works in both."""

    def __init__(self, config: KeyboardConfig) -> None:
        self.reconfigure(config)
        self._in_paste = False
        self._motion_key_s = -math.inf
        self._held_s = -math.inf
        self.latched = False
        """whether the emergency stop or a fault is latched: motion keys do nothing then"""
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

    def meant(self, keys: Sequence[str]) -> list[str]:
        """The keys that came at once, without what was pasted: a text that lands in the wrong terminal moves nothing
        and frees nothing. Where an instruction is typed it may be pasted; the emergency stop works in any case."""
        meant: list[str] = []
        marked = self._in_paste or PASTE_BEGINS in keys
        pasted = marked or len(set(keys)) >= PASTED_KEYS
        typing = self.typed is not None or (pasted and not marked and REQUESTS.get(keys[0]) is Request.INSTRUCTION)
        dropped = False
        for index, key in enumerate(keys):
            if key in (PASTE_BEGINS, PASTE_ENDS):
                self._in_paste = key == PASTE_BEGINS
            elif not (self._in_paste or (pasted and not marked)) or key == CTRL_X:
                meant.append(key)
            elif typing:
                # A line's end within it is a blank; the last one, typed or pasted, sends the instruction.
                inside = key == ENTER and (marked or index < len(keys) - 1)
                meant.append(" " if inside else key)
            else:
                dropped = True
                meant += [CTRL_X] if REQUESTS.get(key) is Request.ESTOP and not marked else []
        if dropped:
            self.notice = "pasted text is ignored: type one key at a time"
        return meant

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
        if self._held(key, now_s):
            self.notice = "let go of the keys once, then take over anew"
            return None
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
        """Call when the controller left TELEOP: what was pressed before must not take over again, nor a key that is
        held all the while."""
        self._motion.forget()
        if not self.latched:
            self._held_s = self._motion_key_s

    def _held(self, key: str, now_s: float) -> bool:
        """Whether a motion key has been held since the arm was lost or stopped. A terminal tells no releases, but
        pauses."""
        if key not in MOTIONS:
            return False
        self._motion_key_s = now_s
        if not self.latched and now_s - self._held_s >= RELEASED_S:
            return False
        self._held_s = now_s
        return True

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
