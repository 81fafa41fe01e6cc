"""Results of episodes: one JSON line each, and success rates with intervals."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

Z_95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


@dataclass(frozen=True)
class EpisodeResult:
    """One episode, as it is written to the results file.

    ``success`` is the flag at the last step, as SimplerEnv counts (https://github.com/simpler-env/SimplerEnv);
    ``success_rule`` says so in the file, with the condition under which an episode ends early.
    """

    task: str
    variant: str
    layout: int
    policy: str
    instruction: str
    success: bool
    steps: int
    max_steps: int
    clock: str
    duration_s: float
    success_rule: str
    times_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    video: str = ""


def append(path: Path, result: EpisodeResult) -> None:
    """Adds one line; what is there stays."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(result), ensure_ascii=False) + "\n")


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """95 % interval of a success rate from so many successes of so many episodes.

    Wilson's score interval (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927); meaningful for few episodes and for rates of
    0 and 1, where the usual normal interval is not.

    Raises:
        ValueError: not 0 <= successes <= count, or no episode.
    """
    if count < 1 or not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count} episodes make no rate")
    rate = successes / count
    scale = 1 + Z_95**2 / count
    centre = (rate + Z_95**2 / (2 * count)) / scale
    half = Z_95 / scale * math.sqrt(rate * (1 - rate) / count + Z_95**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def rate_text(results: Iterable[EpisodeResult]) -> str:
    """Such as ``7/10 = 70 %, 95 % interval 40 to 89 %``."""
    flags = [result.success for result in results]
    if not flags:
        return "no episode was completed"
    low, high = wilson_interval(sum(flags), len(flags))
    rate = sum(flags) / len(flags)
    return f"{sum(flags)}/{len(flags)} = {rate:.0%}, Wilson 95 % interval {low * 100:.0f} to {high * 100:.0f} %"
