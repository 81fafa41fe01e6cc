"""Signs of life of something that the controller depends on."""

from __future__ import annotations

from magma_control.safety import Refusal


class Heartbeat:
    """One stream of signs of life, on the steady clock."""

    def __init__(self, who: str) -> None:
        """
        Args:
            who: sends them, for the texts ("policy").
        """
        self._who = who
        self._last_s: float | None = None

    def beat(self, now_s: float) -> None:
        """A sign of life came."""
        self._last_s = now_s

    def refuse(self, now_s: float, timeout_s: float, required: bool, since_s: float) -> Refusal | None:
        """Why the sender counts as lost, or None.

        Args:
            timeout_s: longest silence.
            required: whether it counts as lost when it was never heard for `timeout_s` after `since_s`; otherwise one
                that was never heard is not expected to send any.
        """
        if self._last_s is None:
            if required and now_s - since_s > timeout_s:
                return Refusal(f"{self._who} without heartbeat", f"the {self._who} has sent no heartbeat yet")
            return None
        silent_s = now_s - self._last_s
        if silent_s > timeout_s:
            return Refusal(f"{self._who} heartbeat lost", f"the {self._who} has sent no heartbeat for {silent_s:.1f} s")
        return None
