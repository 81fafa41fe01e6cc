"""The one line that the operator reads."""

from __future__ import annotations

import math
from dataclasses import dataclass

PHASE_NAMES = ("HOLD", "AUTONOMOUS", "TELEOP", "ESTOP", "FAULT")
"""By the numbers of ControllerState.msg."""


@dataclass(frozen=True)
class Status:
    """What is known about the robot."""

    phase: str
    reason: str
    instruction: str
    frame_age_ms: float
    """NaN when no frame was acted on"""
    gripper_target: float | None


def status_line(status: Status | None, typed: str | None, notice: str, width: int) -> str:
    """One line of at most `width` columns: phase, what the operator was told last, why, instruction, gripper, age.

    Args:
        status: None when the controller is not heard.
        typed: the instruction being typed, or None.
    """
    if typed is not None:
        # The end of a long text is where the operator is typing.
        prompt = "new instruction (Enter sends, Esc drops): "
        return (prompt + typed[-max(0, width - len(prompt) - 1) :] + "_")[:width]
    if status is None:
        parts = ["no controller heard: is it running, with the same ROS_DOMAIN_ID?"]
        return " · ".join([notice, *parts] if notice else parts)[:width]
    parts = [status.phase]
    if notice:
        parts.append(notice)
    parts.append(status.reason)
    parts.append(f'"{status.instruction}"' if status.instruction else "no instruction")
    if status.gripper_target is not None:
        parts.append("gripper open" if status.gripper_target > 0.5 else "gripper closed")
    if math.isfinite(status.frame_age_ms):
        parts.append(f"frame {status.frame_age_ms:.0f} ms")
    return _printable(" · ".join(parts))[:width]


def _printable(text: str) -> str:
    """Text from the network without control characters, which could rewrite the operator's screen."""
    return "".join(character if character.isprintable() else "?" for character in text)
