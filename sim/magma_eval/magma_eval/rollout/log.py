"""What happens in an episode, collected while it is played."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from magma_eval.actions import ActionType
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import Stage, Success, SuccessRule

ActionT = TypeVar("ActionT")


@dataclass(frozen=True)
class Rollout:
    """How an episode went."""

    success: Success
    first_success_step: int | None
    success_steps: int
    steps: int
    max_steps: int
    instruction: str
    queries: int
    held_steps: int
    rejected_actions: int
    stages: dict[str, Stage]
    record: EpisodeRecord


class EpisodeLog(Generic[ActionT]):
    """Actions, flags and times of one episode.

    Args:
        action_type: of the task.
    """

    def __init__(self, action_type: ActionType[ActionT]) -> None:
        self._action_type = action_type
        self._actions: list[ActionT] = []
        self._commanded: list[bool] = []
        self._late_s: list[float] = []
        self._success: list[bool] = []
        self._query_step: list[int] = []
        self._times_ms: dict[str, list[float]] = {}
        self._rejected = 0

    @property
    def succeeded(self) -> bool:
        """Whether the goal held after the last step."""
        return bool(self._success) and self._success[-1]

    def time(self, stage: str, milliseconds: float) -> None:
        """So long took a stage once."""
        self._times_ms.setdefault(stage, []).append(milliseconds)

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Times the block, unless it raises."""
        begin = time.perf_counter()
        yield
        self.time(stage, 1e3 * (time.perf_counter() - begin))

    def asked(self, step: int) -> None:
        """The policy was asked about the frame of this step."""
        self._query_step.append(step)

    def rejected(self) -> None:
        """Its answer was no valid action."""
        self._rejected += 1

    def stepped(self, action: ActionT, *, commanded: bool, late_s: float, success: bool) -> None:
        """A step was executed."""
        self._actions.append(action)
        self._commanded.append(commanded)
        self._late_s.append(late_s)
        self._success.append(success)

    def result(self, rule: SuccessRule, instruction: str, max_steps: int) -> Rollout:
        """The whole."""
        ever = any(self._success)
        stopped_early = rule == "first" and ever
        return Rollout(
            success=Success(
                last=None if stopped_early else self.succeeded, first=ever, ever=None if stopped_early else ever
            ),
            first_success_step=self._success.index(True) + 1 if ever else None,
            success_steps=sum(self._success),
            steps=len(self._success),
            max_steps=max_steps,
            instruction=instruction,
            queries=len(self._query_step),
            held_steps=self._commanded.count(False),
            rejected_actions=self._rejected,
            stages={name: Stage.of(values) for name, values in self._times_ms.items()},
            record=self._record(),
        )

    def _record(self) -> EpisodeRecord:
        packed: Any = self._action_type.pack(self._actions)
        return EpisodeRecord(
            actions=packed,
            commanded=np.array(self._commanded, dtype=np.bool_),
            late_s=np.array(self._late_s, dtype=np.float64),
            success=np.array(self._success, dtype=np.bool_),
            query_step=np.array(self._query_step, dtype=np.int64),
            query_ms=np.array(self._times_ms.get("policy", []), dtype=np.float64),
        )
