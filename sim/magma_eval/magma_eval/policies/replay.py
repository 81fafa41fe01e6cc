"""Recorded episodes as a policy."""

from __future__ import annotations

from typing import Any

from magma_eval.policies.interface import PolicyFailedError
from magma_eval.policies.scripted import ScriptedPolicy
from magma_eval.results.episode_record import EpisodeRecord


class ReplayPolicy(ScriptedPolicy):
    """Executes recorded actions, and nothing after their end.

    Raises:
        PolicyFailedError: commands came in the middle of steps, which only a video of the episode can repeat.
    """

    def __init__(self, record: EpisodeRecord, name: str = "replay") -> None:
        super().__init__(name)
        if record.late_s.any():
            raise PolicyFailedError("it was recorded in real time, with commands in the middle of steps")
        self._record = record

    def act(self, observation: Any) -> Any:
        step = observation.step
        return self._record.actions[step] if step < len(self._record.actions) and self._record.commanded[step] else None
