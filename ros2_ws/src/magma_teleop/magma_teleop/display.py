"""What the operator reads below the help."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from magma_teleop.keys import REQUESTS, Request

PHASE_NAMES = ("HOLD", "AUTONOMOUS", "TELEOP", "ESTOP", "FAULT")
"""By the numbers of ControllerState.msg."""
MOST_LINES = 3
"""Of the terminal, for the status."""
SERVICES: Mapping[str, Request] = {
    "magma/estop": Request.ESTOP,
    "magma/rearm": Request.REARM,
    "magma/hand_back": Request.HAND_BACK,
}
"""What the controller's sentences name, in whatever namespace, and the operator has keys for."""


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
        parts = ["no controller heard: is it running, with the same ROS_DOMAIN_ID and namespace?"]
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
    return in_keys(_printable(" · ".join(parts)))[:width]


def status_lines(status: Status | None, typed: str | None, notice: str, width: int) -> list[str]:
    """The same, with as many lines as it takes, up to MOST_LINES of at most `width` columns."""
    if typed is not None:
        return [status_line(status, typed, notice, width)]
    whole = status_line(status, None, notice, MOST_LINES * width)
    return textwrap.wrap(whole, max(2, width), max_lines=MOST_LINES, placeholder=" …") or [""]


def in_keys(text: str) -> str:
    """A sentence of the controller with the operator's keys for the services in it: `re-arm with c`."""
    keys = {request: key for key, request in reversed(list(REQUESTS.items()))}

    def key(found: re.Match[str]) -> str:
        request = next((request for service, request in SERVICES.items() if found[1].endswith(f"/{service}")), None)
        return found[0] if request is None else f"with {keys[request]}"

    return re.sub(r"\bwith (/[\w/]+)", key, text)


def _printable(text: str) -> str:
    """Text from the network without control characters, which could rewrite the operator's screen."""
    return "".join(character if character.isprintable() else "?" for character in text)
