"""Results of episodes: one JSON line each, and success rates with intervals."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from magma_eval.confidence_intervals import Rate


@dataclass(frozen=True)
class EpisodeResult:
    """One episode, as it is written to the results file.

    ``success`` is whether the goal held at the last step, as SimplerEnv counts
    (https://github.com/simpler-env/SimplerEnv); ``success_rule`` says so in the file, with the condition under which an
    episode ends early. ``first_success_step`` is the step at which it held first, None when it never did.
    """

    task: str
    variant: str
    layout: int
    policy: str
    instruction: str
    success: bool
    first_success_step: int | None
    steps: int
    max_steps: int
    clock: str
    duration_s: float
    success_rule: str
    times_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    video: str = ""
    shortened: dict[str, int] = field(default_factory=dict)
    """what the safety stage refused or shortened in this episode, by reason"""
    policy_given: str = ""
    """the policy as it was asked for: a name, a folder or an address"""
    policy_path: str = ""
    """where that is"""
    policy_identity: str = ""
    """the policy's content, whatever it is called; of scripted ones their name"""
    arm: str = ""
    teleop: str = ""
    corrected_by: dict[str, int] = field(default_factory=dict)
    """devices of operators, with the commands of theirs that moved the arm: the success is not the policy's alone"""


def append(path: Path, result: EpisodeResult) -> None:
    """Adds one line; what is there stays."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(result), ensure_ascii=False) + "\n")


def success_rule(hold_steps: int) -> str:
    """What counts as a success, in words, given when an episode ends early (0 = never)."""
    if hold_steps:
        return f"goal holds at the last step; an episode ends when it held at {hold_steps} steps in a row"
    return "goal holds at the last step"


def rate_text(results: Iterable[EpisodeResult]) -> str:
    """Such as ``7/10 = 70%, Wilson 95 % interval 40 to 89 %``."""
    flags = [result.success for result in results]
    if not flags:
        return "no episode was completed"
    rate = Rate(sum(flags), len(flags))
    low, high = rate.interval
    share = rate.successes / rate.count
    return f"{rate.successes}/{rate.count} = {share:.0%}, Wilson 95 % interval {low * 100:.0f} to {high * 100:.0f} %"


def policy_text(result: EpisodeResult) -> str:
    """Which policy it was: what was asked for, the name that the checkpoint has, its content and place."""
    asked = result.policy_given if result.policy_given not in ("", result.policy) else ""
    parts = [f"called {result.policy}"] if asked else []
    if result.policy_identity not in ("", result.policy):
        parts.append(f"content {result.policy_identity[:12]}")
    if result.policy_path not in ("", result.policy, asked):
        parts.append(result.policy_path)
    return (asked or result.policy) + (f" ({', '.join(parts)})" if parts else "")


def corrections_text(results: Sequence[EpisodeResult]) -> list[str]:
    """Lines that say in how many episodes operators moved the arm, and the rate of the others; none when nobody did."""
    corrected = [result for result in results if result.corrected_by]
    if not corrected:
        return []
    commands: Counter[str] = Counter()
    for result in corrected:
        commands.update(result.corrected_by)
    who = ", ".join(f"{device} ({count} commands)" for device, count in sorted(commands.items()))
    alone = [result for result in results if not result.corrected_by]
    without = f"without corrections: {rate_text(alone)}" if alone else "no episode without corrections"
    return [
        f"corrected    {len(corrected)} of {len(results)} episodes, by {who}: not the policy's success alone",
        f"             {without}",
    ]
