"""Several policies on the same episodes: their rates, every pair's test, and what each costs in time and memory."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from magma_eval.compare import Comparison, compare
from magma_eval.confidence_intervals import Rate, holm
from magma_eval.report.text_tables import table, wrapped
from magma_eval.results.episode_result import EpisodeResult, ResultsError, Stage, SuccessRule
from magma_eval.results.run_folder import MEMORY, RunFolder
from magma_eval.summary import SettingSummary, summarise

LATENCY = "policy"
"""The stage that is the policy's answer as whoever asked waited for it."""


@dataclass(frozen=True)
class Contestant:
    """A policy in one setting."""

    name: str
    training: str
    rate: Rate | None
    """over all of its episodes"""
    shared: Rate | None
    """over the episodes that every policy of the contest has finished"""
    median_ms: float | None
    p95_ms: float | None
    """of its answers: of the middle episode"""
    memory_mib: Mapping[str, float]
    """by place, as its server told; empty where nobody did"""


@dataclass(frozen=True)
class Pair:
    """Two of them on the episodes that both have played."""

    first: str
    second: str
    comparison: Comparison | None
    """None where it cannot be made, and `why` says why"""
    adjusted_p: float | None = None
    """McNemar's p by Holm's method among all pairs of the contest"""
    why: str = ""


@dataclass(frozen=True)
class Contest:
    """Policies that played one suite on one clock."""

    title: str
    contestants: tuple[Contestant, ...]
    pairs: tuple[Pair, ...]
    shared: int
    """episodes that all have finished"""


def contests(runs: Sequence[RunFolder], rule: SuccessRule) -> list[Contest]:
    """One for every suite and clock that at least two policies, or two settings of one, have played."""
    memory = {id(result): run.run.get(MEMORY) for run in runs for result in run.results}
    groups: dict[tuple[str, str], list[SettingSummary]] = {}
    for summary in summarise(result for run in runs for result in run.results):
        groups.setdefault((summary.setting.suite, summary.setting.how), []).append(summary)
    return [
        _contest(f"{suite}, {how}", summaries, rule, memory)
        for (suite, how), summaries in groups.items()
        if len(summaries) > 1
    ]


def _contest(title: str, summaries: Sequence[SettingSummary], rule: SuccessRule, memory: Mapping[int, Any]) -> Contest:
    verdicts = [_verdicts(summary.total.results, rule) for summary in summaries]
    shared = set.intersection(*(set(found) for found in verdicts))
    contestants = []
    for summary, found in zip(summaries, verdicts, strict=True):
        told = [memory.get(id(result)) for result in summary.total.results]
        median, p95 = _latency(summary.total.results)
        contestants.append(
            Contestant(
                summary.name,
                summary.setting.training,
                summary.total.rate(rule),
                Rate(sum(found[start] for start in shared), len(shared)) if shared else None,
                median,
                p95,
                _largest(told),
            )
        )
    pairs = [_pair(first, second, rule) for first, second in itertools.combinations(summaries, 2)]
    tests = [pair.comparison.paired.mcnemar_p for pair in pairs if pair.comparison and pair.comparison.paired]
    adjusted = iter(holm(tests))
    pairs = [
        Pair(pair.first, pair.second, pair.comparison, next(adjusted))
        if pair.comparison and pair.comparison.paired
        else pair
        for pair in pairs
    ]
    return Contest(title, tuple(contestants), tuple(pairs), len(shared))


def _pair(first: SettingSummary, second: SettingSummary, rule: SuccessRule) -> Pair:
    try:
        rows = compare(first.total.results, second.total.results, rule)
    except ResultsError as error:
        return Pair(first.name, second.name, None, why=str(error))
    return Pair(first.name, second.name, rows[-1])


def _verdicts(results: Sequence[EpisodeResult], rule: SuccessRule) -> dict[tuple, bool]:
    known = ((result.key.start, result.success.under(rule)) for result in results if result.success is not None)
    return {start: verdict for start, verdict in known if verdict is not None}


def _latency(results: Sequence[EpisodeResult]) -> tuple[float | None, float | None]:
    stages: list[Stage] = [result.stages[LATENCY] for result in results if LATENCY in result.stages]
    if not stages:
        return None, None
    middle = len(stages) // 2
    return sorted(stage.median for stage in stages)[middle], sorted(stage.p95 for stage in stages)[middle]


def _largest(told: Sequence[object]) -> dict[str, float]:
    found: dict[str, float] = {}
    for memory in told:
        if isinstance(memory, Mapping):
            for place, mib in memory.items():
                if isinstance(place, str) and isinstance(mib, (int, float)) and mib >= 0:
                    found[place] = max(found.get(place, 0.0), float(mib))
    return found


# As text and as JSON.

POLICY_TITLES = ("policy", "success", "on shared episodes", "answer median", "95 %", "memory", "training")
PAIR_TITLES = ("first", "second", "difference", "McNemar p", "Holm p", "shared", "to show it")
LEGEND = (
    "difference: first minus second with its 95 % interval, on the shared episodes where both played the same ones; "
    "McNemar: exact; Holm: adjusted for the number of pairs; to show it: episodes for 80 % power at this difference; "
    "answers: ms, of the middle episode, waiting and network included; memory: largest that the policy's server told"
)


def policy_rows(contest: Contest) -> list[tuple[str, ...]]:
    """Cells for `POLICY_TITLES`."""
    return [
        (
            one.name,
            "–" if one.rate is None else str(one.rate),
            "–" if one.shared is None else str(one.shared),
            _milliseconds(one.median_ms),
            _milliseconds(one.p95_ms),
            ", ".join(f"{mib:.0f} MiB {place}" for place, mib in one.memory_mib.items()) or "not told",
            one.training or "not stated",
        )
        for one in contest.contestants
    ]


def pair_rows(contest: Contest) -> list[tuple[str, ...]]:
    """Cells for `PAIR_TITLES`."""
    rows: list[tuple[str, ...]] = []
    for pair in contest.pairs:
        if pair.comparison is None:
            rows.append((pair.first, pair.second, pair.why, "–", "–", "0", "–"))
            continue
        paired = pair.comparison.paired
        rows.append(
            (
                pair.first,
                pair.second,
                str(pair.comparison.difference),
                "–" if paired is None else f"{paired.mcnemar_p:.2g}",
                "–" if pair.adjusted_p is None else f"{pair.adjusted_p:.2g}",
                "0" if paired is None else str(paired.count),
                pair.comparison.needed,
            )
        )
    return rows


def text_report(found: Sequence[Contest], width: int) -> str:
    """All contests as plain text of at most `width` columns."""
    lines = []
    for contest in found:
        lines += [*wrapped(f"{contest.title}: {contest.shared} episodes that all have finished", width), ""]
        lines += [*table(POLICY_TITLES, policy_rows(contest), width), ""]
        lines += [*table(PAIR_TITLES, pair_rows(contest), width), ""]
    return "\n".join([*lines, *wrapped(LEGEND, width)])


def numbers_of(contest: Contest) -> dict[str, Any]:
    """JSON values."""

    def rate(one: Rate | None) -> dict[str, Any] | None:
        if one is None:
            return None
        low, high = one.interval
        return {"successes": one.successes, "count": one.count, "low": round(low, 5), "high": round(high, 5)}

    def pair(one: Pair) -> dict[str, Any]:
        made: dict[str, Any] = {"first": one.first, "second": one.second, "why": one.why}
        if one.comparison is not None:
            difference, paired = one.comparison.difference, one.comparison.paired
            made["difference"] = [round(value, 5) for value in (difference.value, difference.low, difference.high)]
            made["method"] = one.comparison.method
            if paired is not None:
                made |= {"mcnemar_p": paired.mcnemar_p, "holm_p": one.adjusted_p, "outcomes": vars(paired)}
        return made

    return {
        "title": contest.title,
        "shared": contest.shared,
        "policies": [
            {
                "name": one.name,
                "training": one.training,
                "rate": rate(one.rate),
                "shared": rate(one.shared),
                "answer_ms": {"median": one.median_ms, "p95": one.p95_ms},
                "memory_mib": dict(one.memory_mib),
            }
            for one in contest.contestants
        ],
        "pairs": [pair(one) for one in contest.pairs],
    }


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
