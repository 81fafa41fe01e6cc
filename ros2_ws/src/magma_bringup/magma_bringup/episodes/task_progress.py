"""How far a task is and when it has ended. No clock and no ROS: the caller says what time it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ending:
    """How a task ended."""

    success: bool
    steps: int
    reason: str


class TaskProgress:
    """Follows one task from the simulator's reports.

    Args:
        first_step: step of the episode when the task was given.
        max_steps: give up after so many steps.
        hold_steps: the task is done when the goal held after so many steps in a row.
        step_timeout_s: give up when no step comes for so long.
        now_s: the present time.

    Raises:
        ValueError: a number that makes no sense.
    """

    def __init__(self, first_step: int, max_steps: int, hold_steps: int, step_timeout_s: float, now_s: float) -> None:
        if max_steps < 1 or hold_steps < 1 or not step_timeout_s > 0:
            raise ValueError(
                f"max_steps, hold_steps and step_timeout_s are above 0, got {max_steps}, {hold_steps}, {step_timeout_s}"
            )
        self._first_step, self._max_steps = first_step, max_steps
        self._hold_steps, self._timeout_s = hold_steps, step_timeout_s
        self._last_step, self._moved_s = first_step, now_s
        self._held = 0
        self.holds = False
        """whether the goal held at the last report"""

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self._last_step - self._first_step

    def saw(self, step: int, success: bool, done: bool, now_s: float) -> Ending | None:
        """A report of the world; how the task ended, or None while it goes on."""
        if step < self._last_step:
            return Ending(False, self.steps, "the world was reset")
        if step > self._last_step:
            self._last_step, self._moved_s = step, now_s
            self._held = self._held + 1 if success else 0
        self.holds = success
        if self._held >= self._hold_steps:
            return Ending(True, self.steps, f"the goal held at {self._held} steps in a row")
        if self.steps >= self._max_steps:
            return Ending(success, self.steps, f"{self._max_steps} steps were taken")
        if done:
            return Ending(success, self.steps, "the simulated episode has ended")
        return None

    def silent(self, now_s: float) -> Ending | None:
        """Nothing new was heard; the end when that lasted too long."""
        if now_s - self._moved_s > self._timeout_s:
            return Ending(False, self.steps, f"no step for {self._timeout_s:g} s")
        return None
