"""How episodes are played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from magma_eval.results.episode_result import SuccessRule

Clock = Literal["lockstep", "realtime", "wall"]
CLOCKS: tuple[Clock, ...] = get_args(Clock)


@dataclass(frozen=True)
class RolloutSettings:
    """Clock, latency and rule of an episode.

    Raises:
        ValueError: values that do not go together.
    """

    clock: Clock = "lockstep"
    latency_ms: float | None = None
    """real time: every answer takes exactly so long; None: as long as it really took. Wall: added to what it took."""
    execute_steps: int | None = None
    """actions of a chunk that are executed before the policy is asked again; None: 1 in lock-step, in real time all
    until a newer answer is there"""
    rule: SuccessRule = "last"

    def __post_init__(self) -> None:
        if self.clock not in CLOCKS:
            raise ValueError(f"unknown clock {self.clock!r}; it is one of {', '.join(CLOCKS)}")
        if self.clock == "lockstep" and self.latency_ms is not None:
            raise ValueError("in lock-step the world waits, so latency means nothing: use --clock realtime")
        if self.latency_ms is not None and not 0 <= self.latency_ms <= 60_000:
            raise ValueError(f"a latency lies between 0 and 60000 ms, got {self.latency_ms}")
        if self.execute_steps is not None and self.execute_steps < 1:
            raise ValueError(f"execute_steps is at least 1, got {self.execute_steps}")

    @property
    def executed(self) -> int | None:
        """Actions of a chunk that are executed at most; None: all."""
        return self.execute_steps or (1 if self.clock == "lockstep" else None)
