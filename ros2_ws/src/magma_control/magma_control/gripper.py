"""What becomes of a policy's wish for the gripper: continuous, or open and closed with hysteresis and stickiness."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GripperRule:
    """How openings 0 closed ... 1 open are taken. The defaults change nothing."""

    binary: bool = False
    close_below: float = 0.4
    open_above: float = 0.6
    sticky_steps: int = 0
    """A change is kept for so many steps, whatever the policy says meanwhile. SimplerEnv repeats a change of the Google
    robot's gripper 15 times and of the WidowX's once (simpler_env/policies)."""


class GripperFilter:
    """Applies the rule step by step; belongs to an episode, `reset` begins a new one."""

    def __init__(self) -> None:
        self._closed: bool | None = None
        self._kept = 0

    def reset(self) -> None:
        """Forgets what was commanded."""
        self._closed = None
        self._kept = 0

    def apply(self, opening: float, present: float, rule: GripperRule) -> float:
        """The opening to command for this step.

        Args:
            opening: the policy's wish.
            present: the opening commanded now; a first wish between the thresholds keeps what is nearer to it.
        """
        if not rule.binary:
            return opening
        if self._closed is None:
            self._closed = present < 0.5
        if self._kept > 0:
            self._kept -= 1
            return 0.0 if self._closed else 1.0
        closed = opening < rule.close_below if not self._closed else opening <= rule.open_above
        if closed != self._closed:
            self._closed = closed
            self._kept = max(0, rule.sticky_steps - 1)
        return 0.0 if self._closed else 1.0
