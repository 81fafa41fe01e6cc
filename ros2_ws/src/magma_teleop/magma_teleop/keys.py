"""From the bytes of a terminal to keys, and from keys to what they ask for. No terminal, no clock, no ROS."""

from __future__ import annotations

import codecs
import itertools
import textwrap
from collections.abc import Mapping
from enum import Enum

import numpy as np
from numpy.typing import NDArray

ENTER = "enter"
ESCAPE = "escape"
BACKSPACE = "backspace"
CTRL_X = "ctrl-x"
UP, DOWN, RIGHT, LEFT = "up", "down", "right", "left"
PASTE_BEGINS, PASTE_ENDS = "paste begins", "paste ends"
"""Marks of a terminal around what is pasted."""

_CONTROL_KEYS: Mapping[str, str] = {"\r": ENTER, "\n": ENTER, "\x7f": BACKSPACE, "\b": BACKSPACE}
_PASTE_MARKS: Mapping[str, str] = {"\x1b[200~": PASTE_BEGINS, "\x1b[201~": PASTE_ENDS}
_FINAL_KEYS: Mapping[str, str] = {"A": UP, "B": DOWN, "C": RIGHT, "D": LEFT}


class KeyDecoder:
    """Turns the bytes that a terminal sends into names of keys.

    Printable characters name themselves; control characters and arrow keys have the names above. Escape sequences of
    other keys are swallowed whole, so that their letters do not move the arm (ECMA-48, section 5.4: CSI, parameter
    bytes 0x30-0x3F, intermediate bytes 0x20-0x2F, one final byte 0x40-0x7E; xterm's SS3 "ESC O" likewise).
    """

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._sequence = ""

    def feed(self, data: bytes) -> list[str]:
        """Keys pressed, in order; the rest of an unfinished sequence is kept for the next call."""
        keys: list[str] = []
        for character in self._utf8.decode(data):
            if character == "\x18":
                # ECMA-48's CAN too: it breaks off any sequence, so the emergency stop always gets through.
                self._sequence = ""
                keys.append(CTRL_X)
            elif self._sequence:
                keys.extend(self._continue_sequence(character))
            elif character == "\x1b":
                self._sequence = character
            else:
                keys.extend(_plain_key(character))
        return keys

    def flush(self) -> list[str]:
        """Call when nothing followed for a while: an escape character on its own is the escape key."""
        alone = self._sequence == "\x1b"
        self._sequence = ""
        return [ESCAPE] if alone else []

    def _continue_sequence(self, character: str) -> list[str]:
        if self._sequence == "\x1b":
            if character in "[O":
                self._sequence += character
                return []
            # Escape, then (or Alt with) another key: neither moves the arm.
            self._sequence = "\x1b" if character == "\x1b" else ""
            return [ESCAPE]
        if "\x40" <= character <= "\x7e":
            whole, self._sequence = self._sequence + character, ""
            if whole in _PASTE_MARKS:
                return [_PASTE_MARKS[whole]]
            arrow = _FINAL_KEYS.get(character) if len(whole) == 3 else None
            return [arrow] if arrow else []
        self._sequence += character
        return []


def _plain_key(character: str) -> list[str]:
    if character in _CONTROL_KEYS:
        return [_CONTROL_KEYS[character]]
    return [character] if character.isprintable() else []


class Request(Enum):
    """What a key asks for, other than a motion."""

    TOGGLE_GRIPPER = "open or close the gripper"
    HAND_BACK = "hand back to the policy"
    ESTOP = "emergency stop"
    REARM = "re-arm after an emergency stop"
    INSTRUCTION = "type a new instruction"
    HELP = "show this help"


REQUESTS: Mapping[str, Request] = {
    " ": Request.TOGGLE_GRIPPER,
    "h": Request.HAND_BACK,
    ENTER: Request.HAND_BACK,
    "x": Request.ESTOP,
    CTRL_X: Request.ESTOP,
    "c": Request.REARM,
    "i": Request.INSTRUCTION,
    "?": Request.HELP,
}

MOTIONS: Mapping[str, tuple[float, float, float, float, float, float]] = {
    "w": (1, 0, 0, 0, 0, 0),
    "s": (-1, 0, 0, 0, 0, 0),
    "a": (0, 1, 0, 0, 0, 0),
    "d": (0, -1, 0, 0, 0, 0),
    "r": (0, 0, 1, 0, 0, 0),
    "f": (0, 0, -1, 0, 0, 0),
    UP: (1, 0, 0, 0, 0, 0),
    DOWN: (-1, 0, 0, 0, 0, 0),
    LEFT: (0, 1, 0, 0, 0, 0),
    RIGHT: (0, -1, 0, 0, 0, 0),
    "q": (0, 0, 0, 0, 0, 1),
    "e": (0, 0, 0, 0, 0, -1),
    "j": (0, 0, 0, 1, 0, 0),
    "l": (0, 0, 0, -1, 0, 0),
    "k": (0, 0, 0, 0, 1, 0),
    "m": (0, 0, 0, 0, -1, 0),
}
"""Direction of each motion key: x forward, y left, z up of the base frame, then rotations about x, y, z."""

HELP = (
    ("w s", "forward, back (or up, down)"),
    ("a d", "left, right (or left, right)"),
    ("r f", "up, down"),
    ("q e", "turn about z"),
    ("j l", "turn about x"),
    ("k m", "turn about y"),
    ("space", "open or close the gripper"),
    ("h Enter", "hand back to the policy"),
    ("i", "type a new instruction"),
    ("x", "emergency stop (also Ctrl-X)"),
    ("c", "re-arm after a stop"),
    ("?", "this help"),
)
HELP_NOTE = "Any key that moves takes the arm over. Ctrl-C ends; the arm then holds until it is handed back."


def help_lines(width: int) -> list[str]:
    """What the keys do, in as many columns as fit into `width`."""
    keys = max(len(key) for key, _ in HELP)
    entries = [f"{key:{keys}}  {text}" for key, text in HELP]
    gap = 3
    for columns in range(3, 0, -1):
        rows = -(-len(entries) // columns)
        parts = [entries[start : start + rows] for start in range(0, len(entries), rows)]
        sizes = [max(map(len, part)) for part in parts]
        if sum(sizes) + gap * (len(parts) - 1) <= width:
            break
    padded = [[entry.ljust(size + gap) for entry in part] for part, size in zip(parts, sizes, strict=True)]
    lines = ["".join(line).rstrip() for line in itertools.zip_longest(*padded, fillvalue="")]
    return [*(line[:width] for line in lines), *textwrap.wrap(HELP_NOTE, max(1, width))]


class MotionKeys:
    """Collects motion keys and turns them into commands at a bounded rate.

    A terminal tells presses and repeats but no releases, so one press is one step, and a held key repeats faster than
    steps are sent: each command carries every key pressed since the last one, each once.
    """

    def __init__(self, step_translation_m: float, step_rotation_rad: float, step_period_s: float, key_hold_s: float):
        self._scale = np.array([step_translation_m] * 3 + [step_rotation_rad] * 3)
        self._period_s = step_period_s
        self._hold_s = key_hold_s
        self._pressed: dict[str, float] = {}
        self._toggle_s: float | None = None
        self._last_sent_s: float | None = None
        self._gripper: float | None = None

    def press(self, key: str, now_s: float) -> bool:
        """Takes a motion key; False when the key is none."""
        if key not in MOTIONS:
            return False
        self._pressed[key] = now_s
        return True

    def toggle_gripper(self, now_s: float) -> None:
        """The next command opens the gripper if it is closed, and closes it if it is open."""
        self._toggle_s = now_s

    @property
    def waiting(self) -> bool:
        """Whether something was pressed that has not been sent."""
        return bool(self._pressed) or self._toggle_s is not None

    def forget(self) -> None:
        """Drops what was pressed, and the gripper opening that was asked for: somebody else has the arm."""
        self._pressed.clear()
        self._toggle_s = None
        self._gripper = None

    def poll(self, now_s: float, gripper_target: float) -> NDArray[np.float64] | None:
        """The command due now, or None.

        Args:
            now_s: monotonic time.
            gripper_target: opening 0 ... 1 that the arm is holding now. It is kept until the operator toggles it, so
                that taking over does not drop what the gripper holds.

        Returns:
            A delta (7,) in metres, radians and opening.
        """
        self._pressed = {key: since_s for key, since_s in self._pressed.items() if now_s - since_s <= self._hold_s}
        if self._toggle_s is not None and now_s - self._toggle_s > self._hold_s:
            self._toggle_s = None
        if not self._pressed and self._toggle_s is None:
            return None
        if self._last_sent_s is not None and now_s - self._last_sent_s < self._period_s:
            return None
        opening = gripper_target if self._gripper is None else self._gripper
        if self._toggle_s is not None:
            opening = 0.0 if opening > 0.5 else 1.0
            self._gripper = opening
        direction = np.sum([MOTIONS[key] for key in self._pressed] or [(0.0,) * 6], axis=0)
        # Two names of one direction (w and arrow up) are not twice the step.
        motion = np.clip(direction, -1.0, 1.0) * self._scale
        self._pressed.clear()
        self._toggle_s = None
        self._last_sent_s = now_s
        return np.append(motion, opening)
