"""Recorded episodes as a policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magma_eval.actions import END_EFFECTOR_DELTA, ActionType
from magma_eval.policies.interface import BlindNeeds, PolicyFailedError
from magma_eval.results.episode_record import EpisodeRecord


class ReplayPolicy:
    """Executes recorded actions, and nothing after their end.

    Args:
        record: of the episode.
        name: of the policy.
        action_type: of the task that was played.

    Raises:
        PolicyFailedError: commands came in the middle of steps, which only a video of the episode can repeat.
    """

    def __init__(
        self, record: EpisodeRecord, name: str = "replay", action_type: ActionType[Any] = END_EFFECTOR_DELTA
    ) -> None:
        self.spec = BlindNeeds(name)
        self.stage_ms: Mapping[str, float] = {}
        if record.late_s.any():
            raise PolicyFailedError("it was recorded in real time, with commands in the middle of steps")
        self._actions, self._commanded = action_type.unpack(record.actions), record.commanded

    def reset(self, instruction: str) -> None:
        del instruction

    def act(self, observation: Any) -> Any:
        step = observation.step
        return self._actions[step] if step < len(self._actions) and self._commanded[step] else None

    def close(self) -> None:
        pass
