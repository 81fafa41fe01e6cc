"""SimplerEnv's sticky rule between the absolute opening of policies and the relative commands of Google's gripper.

Source: simpler-env/SimplerEnv, `policies/octo/octo_model.py` (15 repeats) and Magma's SimplerEnv adapter (10 repeats).
"""

from __future__ import annotations

REPEATS = 15
_THRESHOLD = 0.5


class StickyGripper:
    """Turns absolute openings into the relative commands of one episode; `reset` before each.

    A change of the wanted opening by more than 0.5 between two steps is latched and repeated, because one relative
    command moves the fingers only a little.

    Args:
        repeats: how many steps a latched command lasts.
    """

    def __init__(self, repeats: int = REPEATS) -> None:
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        self._repeats = repeats
        self.reset()

    def reset(self) -> None:
        """Forgets the last episode."""
        self._previous: float | None = None
        self._latched = 0.0
        self._left = 0

    def command(self, opening: float) -> float:
        """The relative command, positive closes, for a wanted opening (0 closed ... 1 open)."""
        relative = 0.0 if self._previous is None else self._previous - opening
        self._previous = opening
        if abs(relative) > _THRESHOLD and self._left == 0:
            self._latched, self._left = relative, self._repeats
        if self._left:
            self._left -= 1
            return self._latched
        return relative
