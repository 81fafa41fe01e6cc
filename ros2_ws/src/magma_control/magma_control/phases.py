"""The controller's phases and the one table of transitions between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class Phase(IntEnum):
    """What the controller is doing; the numbers are those of ControllerState.msg."""

    HOLD = 0
    """nobody moves the arm; a fresh valid chunk starts AUTONOMOUS"""
    AUTONOMOUS = 1
    """the policy's chunks are executed"""
    TELEOP = 2
    """the operator owns the arm, moving or not, until the hand-back"""
    ESTOP = 3
    """latched; only an explicit re-arm leaves it"""
    FAULT = 4
    """the controller cannot trust its inputs about the arm, or itself; latched like ESTOP"""


ALLOWED: Mapping[Phase, frozenset[Phase]] = {
    Phase.HOLD: frozenset({Phase.AUTONOMOUS, Phase.TELEOP, Phase.ESTOP, Phase.FAULT}),
    Phase.AUTONOMOUS: frozenset({Phase.HOLD, Phase.TELEOP, Phase.ESTOP, Phase.FAULT}),
    # Handing back leads to HOLD, never straight to the policy: it must first see the world as the operator left it.
    Phase.TELEOP: frozenset({Phase.HOLD, Phase.ESTOP, Phase.FAULT}),
    Phase.ESTOP: frozenset({Phase.HOLD}),
    Phase.FAULT: frozenset({Phase.HOLD, Phase.ESTOP}),
}
"""From each phase, where the controller may go next."""

MOVING = frozenset({Phase.AUTONOMOUS, Phase.TELEOP})
"""The only phases in which a command may be sent."""


class TransitionError(RuntimeError):
    """A transition that the table does not allow: a mistake in the controller's own code."""


def check_transition(current: Phase, following: Phase) -> None:
    """Raises TransitionError unless the table allows the step from `current` to `following`."""
    if following not in ALLOWED[current]:
        raise TransitionError(f"the controller may not go from {current.name} to {following.name}")
