"""What an emergency stop button says about itself. No clock, no I/O, no ROS."""

from __future__ import annotations

from magma_control.channels.heartbeat import Heartbeat


class StopButton:
    """One button: pressed, released, or silent for longer than it may be. Times are of the steady clock, seconds."""

    def __init__(self, expected_s: float, shared: bool = False) -> None:
        """
        Args:
            expected_s: from when on it is waited for, where silence counts.
            shared: for texts: it stops every arm, and not this one alone.
        """
        which = "shared " if shared else ""
        self.pressed_text = f"the {which}button is pressed"
        self._expected_s = expected_s
        self._heartbeat = Heartbeat(f"{which}emergency stop button")
        self._pressed = False

    def hear(self, pressed: bool, now_s: float) -> None:
        """It says whether it is pressed."""
        self._heartbeat.beat(now_s)
        self._pressed = pressed

    def trouble(self, now_s: float, timeout_s: float) -> str | None:
        """Why it counts as pressed now, or None.

        Args:
            timeout_s: longest silence; 0 = its silence means nothing.
        """
        if self._pressed:
            return self.pressed_text
        if timeout_s <= 0.0:
            return None
        lost = self._heartbeat.refuse(now_s, timeout_s, True, self._expected_s)
        return lost.text if lost is not None else None
