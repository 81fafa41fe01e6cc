"""How episodes are played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from magma_eval.results.episode_result import SuccessRule

Clock = Literal["lockstep", "realtime", "wall"]
CLOCKS: tuple[Clock, ...] = get_args(Clock)
Compensation = Literal["none", "references", "prediction"]
COMPENSATIONS: tuple[Compensation, ...] = get_args(Compensation)
DEFAULT_COMPENSATION: dict[Clock, Compensation] = {
    "lockstep": "none", "realtime": "prediction", "wall": "references"
}  # fmt: skip
"""What a run compensates unless told otherwise: as much as its clock can."""


@dataclass(frozen=True)
class RolloutSettings:
    """Clock, latency and rule of an episode.

    Raises:
        ValueError: values that do not go together.
    """

    clock: Clock = "lockstep"
    latency_ms: float | None = None
    """real time: every answer takes exactly so long; None: as long as it really took. Wall: added to what it took."""
    latency_jitter_ms: float = 0.0
    """real time with a latency: of each answer so much more at most, drawn evenly by the episode's name"""
    lost_answers: float = 0.0
    """real time with a latency: share of the answers that never arrive, though they took their time"""
    compensation: Compensation = "none"
    """of latency, for arms. references: a delta starts where the arm's target was at capture. prediction: besides, the
    policy is given the state foretold for the moment at which its answer takes effect"""
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
        if self.compensation not in COMPENSATIONS:
            raise ValueError(f"unknown compensation {self.compensation!r}; it is one of {', '.join(COMPENSATIONS)}")
        if (self.compensation == "prediction" and self.clock != "realtime") or (
            self.compensation == "references" and self.clock == "lockstep"
        ):
            raise ValueError(
                f"compensation {self.compensation} means nothing with the clock {self.clock}: prediction is for "
                "realtime, references for realtime and wall"
            )
        if not 0 <= self.latency_jitter_ms <= 60_000 or not 0 <= self.lost_answers < 1:
            raise ValueError(
                f"a jitter lies between 0 and 60000 ms and a share of lost answers between 0 and 1, "
                f"got {self.latency_jitter_ms} and {self.lost_answers}"
            )
        if (self.latency_jitter_ms or self.lost_answers) and (self.clock != "realtime" or self.latency_ms is None):
            raise ValueError("a jitter or lost answers need --clock realtime and a latency, which may be 0")
        if self.execute_steps is not None and self.execute_steps < 1:
            raise ValueError(f"execute_steps is at least 1, got {self.execute_steps}")

    @property
    def executed(self) -> int | None:
        """Actions of a chunk that are executed at most; None: all."""
        return self.execute_steps or (1 if self.clock == "lockstep" else None)

    @property
    def in_words(self) -> dict[str, str]:
        """What differs from the default."""
        words: dict[str, str] = {}
        if self.compensation != DEFAULT_COMPENSATION[self.clock]:
            words["latency compensation"] = self.compensation
        if self.latency_jitter_ms:
            words["latency jitter"] = f"{self.latency_jitter_ms:g} ms"
        if self.lost_answers:
            words["lost answers"] = f"{100 * self.lost_answers:g} %"
        if self.execute_steps is not None:
            words["actions per answer"] = str(self.execute_steps)
        return words
