"""What is said of episodes when they have been played: lines and tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from magma_bringup.episodes.step_times import StepTimes
from magma_eval.confidence_intervals import Rate
from magma_eval.results.episode_result import EpisodeResult


def success_rule(hold_steps: int) -> str:
    """What counts as a success, in words, given when an episode ends early (0 = never)."""
    if hold_steps:
        return f"goal holds at the last step; an episode ends when it held at {hold_steps} steps in a row"
    return "goal holds at the last step"


def succeeded(result: EpisodeResult) -> bool:
    """Whether the goal held at the last step."""
    return result.success is not None and bool(result.success.last)


def line(result: EpisodeResult, number: int, episodes: int) -> str:
    """One episode in one line."""
    episode, verdict = result.episode, "success" if succeeded(result) else "failure"
    return (
        f"episode {number:>3}/{episodes}  {episode.make} {episode.reset_variant} {episode.layout:>3}  {verdict}  "
        f"{result.steps:>3} steps  {result.seconds:5.1f} s"
    )


def rate_text(results: Iterable[EpisodeResult]) -> str:
    """Such as ``7/10 = 70%, Wilson 95 % interval 40 to 89 %``."""
    flags = [succeeded(result) for result in results]
    if not flags:
        return "no episode was completed"
    rate = Rate(sum(flags), len(flags))
    low, high = rate.interval
    share = rate.successes / rate.count
    return f"{rate.successes}/{rate.count} = {share:.0%}, Wilson 95 % interval {low * 100:.0f} to {high * 100:.0f} %"


def policy_text(result: EpisodeResult, given: str, where: str) -> str:
    """Which policy it was: what was asked for, the name that the checkpoint has, its content and place.

    Args:
        result: of an episode that it played.
        given: the policy as it was asked for: a name, a folder or an address.
        where: where that is.
    """
    name, content = result.key.policy, result.key.policy_identity
    asked = given if given not in ("", name) else ""
    parts = [f"called {name}"] if asked else []
    if content not in ("", name):
        parts.append(f"content {content[:12]}")
    if where not in ("", name, asked):
        parts.append(where)
    return (asked or name) + (f" ({', '.join(parts)})" if parts else "")


def corrections_text(results: Sequence[EpisodeResult], commands: Mapping[str, int]) -> list[str]:
    """Lines that say in how many episodes operators moved the arm, and the rate of the others; none when nobody did.

    Args:
        results: of the episodes.
        commands: how many of an operator's commands moved the arm, by device, as far as that is known.
    """
    corrected = [result for result in results if result.corrected_by]
    if not corrected:
        return []
    devices = sorted({device for result in corrected for device in result.corrected_by})
    who = ", ".join(device + (f" ({commands[device]} commands)" if device in commands else "") for device in devices)
    alone = [result for result in results if not result.corrected_by]
    without = f"without corrections: {rate_text(alone)}" if alone else "no episode without corrections"
    return [
        f"corrected    {len(corrected)} of {len(results)} episodes, by {who}: not the policy's success alone",
        f"             {without}",
    ]


def _played(results: Sequence[EpisodeResult]) -> list[str]:
    """What was played: one task's layouts, or a suite's tasks with their rates."""
    by_task: dict[str, list[EpisodeResult]] = {}
    for result in results:
        by_task.setdefault(result.key.task, []).append(result)
    clock = "lockstep" if results[0].clock == "lockstep" else "realtime"
    if len(by_task) > 1:
        lines = [f"suite        {results[0].key.suite} ({len(by_task)} tasks, {clock})"]
        return [*lines, *(f"  {task:<32} {rate_text(some)}" for task, some in by_task.items())]
    layouts = sorted(result.episode.layout for result in results)
    variant = results[0].episode.reset_variant
    return [f"task         {results[0].episode.make} ({variant} layouts {layouts[0]} to {layouts[-1]}, {clock})"]


def summary(
    results: Sequence[EpisodeResult],
    times: StepTimes,
    folder: Path,
    *,
    policy: str,
    rule: str,
    commands: Mapping[str, int],
    videos: bool,
) -> str:
    """The table at the end, as plain text.

    Args:
        results: of every episode, at least one.
        times: of what was played now.
        folder: of the run.
        policy: see `policy_text`.
        rule: see `success_rule`.
        commands: see `corrections_text`.
        videos: whether there are any.
    """
    reached = sorted(r.first_success_step for r in results if r.first_success_step is not None)
    steps = f"goal first reached after {np.median(reached):.0f} (median)" if reached else "goal never reached"
    steps += f"; played {min(r.steps for r in results)} to {max(r.steps for r in results)}"
    settings = results[0].settings
    lines = [
        "",
        *_played(results),
        f"policy       {policy}",
        f"arm          {settings.get('arm', 'not told')}, teleop {settings.get('teleop', 'not told')}",
        f"success      {rate_text(results)}",
        f"             ({rule})",
        *corrections_text(results, commands),
        f"steps        {steps}",
        "",
    ]
    if table := times.table():
        lines.append(f"{'milliseconds per step':<34}{'p50':>9}{'p95':>9}")
        lines += [f"{name:<34}{value.p50:>9.1f}{value.p95:>9.1f}" for name, value in table.items()]
        lines.append("")
    lines.append(f"results      {folder}  (magma-eval report {folder})")
    if videos:
        lines.append(f"videos       {folder}")
    return "\n".join(lines)
