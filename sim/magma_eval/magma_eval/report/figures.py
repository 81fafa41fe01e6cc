"""What the page's two kinds of charts show: rates beside published ones, and success against latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magma_eval.confidence_intervals import Rate
from magma_eval.report.charts import Bar, Curve
from magma_eval.report.published import PublishedRate, published_rates
from magma_eval.results.episode_result import SuccessRule
from magma_eval.summary import SettingSummary


@dataclass(frozen=True)
class Latencies:
    """Success against latency, as a table and as curves."""

    latencies_ms: list[float]
    lockstep: dict[str, Rate | None]
    """policy -> its rate in a world that waits"""
    rates: dict[str, dict[float, Rate]]
    """policy -> latency in ms -> rate"""

    @property
    def curves(self) -> list[Curve]:
        """One per policy."""
        return [Curve(name, list(rates.items()), number) for number, (name, rates) in enumerate(self.rates.items())]


def short_name(summary: SettingSummary) -> str:
    """The policy, and how it was played unless in lock-step."""
    setting = summary.setting
    return summary.name if setting.clock == "lockstep" else f"{summary.name}, {setting.how}"


def rate_bars(summaries: Sequence[SettingSummary], rule: SuccessRule) -> dict[str, list[tuple[str, list[Bar]]]]:
    """Suite -> groups of bars: one for each task, and one for all of them; only suites with something to show."""
    curves = _curves(summaries, rule)
    # What the curve of success against latency shows need not be shown here too.
    shown = [s for s in summaries if s.setting.latency_ms is None or _curve_name(s) not in curves]
    found = {}
    for suite in dict.fromkeys(summary.setting.suite for summary in shown):
        mine = [summary for summary in shown if summary.setting.suite == suite]
        others = published_rates(suite)
        groups: list[tuple[str, list[Bar]]] = []
        for task in dict.fromkeys(row.label for summary in mine for row in summary.tasks):
            bars = []
            for number, summary in enumerate(mine):
                row = next((row for row in summary.tasks if row.label == task), None)
                rate = row.rate(rule) if row is not None else None
                if rate is not None:
                    bars.append(Bar.of(short_name(summary), rate, number))
            bars += [_published_bar(other) for other in others if other.task == task]
            groups.append((task, bars))
        totals = [bar for number, summary in enumerate(mine) for bar in _total_bars(summary, rule, number)]
        groups.append(("all tasks", totals + [_published_bar(other) for other in others if other.task == "mean"]))
        if any(bars for _, bars in groups):
            found[suite] = groups
    return found


def latencies(summaries: Sequence[SettingSummary], rule: SuccessRule) -> Latencies | None:
    """Policies that were played at several injected latencies; None when there is none."""
    curves = _curves(summaries, rule)
    if not curves:
        return None
    lockstep = {_curve_name(s): s.total.rate(rule) for s in summaries if s.setting.clock == "lockstep"}
    every = sorted({latency for points in curves.values() for latency, _ in points})
    return Latencies(every, lockstep, {name: dict(points) for name, points in curves.items()})


def _total_bars(summary: SettingSummary, rule: SuccessRule, colour: int) -> list[Bar]:
    """Over all episodes; and the mean of the tasks, which is what papers give, where that is something else."""
    rate, mean = summary.total.rate(rule), summary.mean_of_tasks(rule)
    if rate is None:
        return []
    if mean is None or len({len(task.results) for task in summary.tasks}) == 1:
        return [Bar.of(short_name(summary), rate, colour)]
    of_tasks = Bar(f"{short_name(summary)}, mean of tasks", mean, None, None, "", own=True, colour=colour)
    return [of_tasks, Bar.of(f"{short_name(summary)}, all episodes", rate, colour)]


def _published_bar(other: PublishedRate) -> Bar:
    text = f"({other.episodes})" if other.episodes else ""
    low = high = None
    if other.episodes:
        low, high = Rate(round(other.rate * other.episodes), other.episodes).interval
    label = other.model + (f", {other.note}" if other.note else "")
    return Bar(label, other.rate, low, high, text, own=False)


def _curve_name(summary: SettingSummary) -> str:
    return f"{summary.name} on {summary.setting.suite}"


def _curves(summaries: Sequence[SettingSummary], rule: SuccessRule) -> dict[str, list[tuple[float, Rate]]]:
    """Policies that were played at several injected latencies: name -> (latency in ms, rate), sorted."""
    curves: dict[str, list[tuple[float, Rate]]] = {}
    for summary in summaries:
        setting, rate = summary.setting, summary.total.rate(rule)
        if setting.clock == "realtime" and setting.latency_ms is not None and rate is not None:
            curves.setdefault(_curve_name(summary), []).append((setting.latency_ms, rate))
    return {name: sorted(points, key=lambda point: point[0]) for name, points in curves.items() if len(points) > 1}
