"""Counts episodes into rates: per task, per factor, over a suite, under each success rule."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from magma_eval.confidence_intervals import Rate
from magma_eval.report.text_tables import table, wrapped
from magma_eval.results.episode_result import SUCCESS_RULES, EpisodeResult, SuccessRule
from magma_eval.suites import SUITES, suite_episodes


@dataclass(frozen=True, order=True)
class Setting:
    """What is the same for all results that may be counted together."""

    suite: str
    policy: str
    clock: str
    latency_ms: float | None
    """injected; None: none, or as measured"""
    training: str
    code: str
    identity: str = ""
    """the policy's content"""
    settings: str = ""
    """what was chosen and differs from the default, in words"""

    @classmethod
    def of(cls, result: EpisodeResult) -> Setting:
        """The setting of a result."""
        key = result.key
        settings = ", ".join(f"{name} {value}" for name, value in sorted(result.settings.items()))
        how = (result.clock, result.latency_ms, result.training, key.code)
        return cls(key.suite, key.policy, *how, key.policy_identity, settings)

    @property
    def how(self) -> str:
        """Clock and latency in words."""
        if self.clock == "lockstep":
            return "lock-step"
        latency = "measured latency" if self.latency_ms is None else f"{self.latency_ms:g} ms latency"
        if self.clock == "wall":
            return "wall clock" if self.latency_ms is None else f"wall clock + {self.latency_ms:g} ms"
        return f"real time, {latency}"

    @property
    def content(self) -> str:
        """The policy's content, as short as a person compares it."""
        return self.identity.split()[-1][:12] if self.identity.strip() else "unknown"


@dataclass(frozen=True)
class Row:
    """Counts of some episodes."""

    label: str
    results: tuple[EpisodeResult, ...]
    """errors included"""

    @property
    def errors(self) -> int:
        """Episodes about which nothing is known."""
        return sum(result.success is None for result in self.results)

    def rate(self, rule: SuccessRule) -> Rate | None:
        """Successes over the episodes whose verdict under `rule` is known; None when there is no such episode, or when
        some episodes lack the verdict and counting the others would flatter."""
        verdicts = [result.success.under(rule) for result in self.results if result.success is not None]
        known = [verdict for verdict in verdicts if verdict is not None]
        if not known or len(known) != len(verdicts):
            return None
        return Rate(sum(known), len(known))

    @property
    def steps_to_success(self) -> float | None:
        """Mean step at which the goal held first, over the episodes where it ever did."""
        steps = [r.first_success_step for r in self.results if r.first_success_step is not None]
        return sum(steps) / len(steps) if steps else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Every note of its results, once."""
        return tuple(dict.fromkeys(note for result in self.results for note in result.notes))

    @property
    def rejected_actions(self) -> int:
        """Answers that were no valid action."""
        return sum(result.rejected_actions for result in self.results)


@dataclass(frozen=True)
class SettingSummary:
    """One setting: its tasks and its totals."""

    setting: Setting
    name: str
    """the policy's label, and what tells it from others of that label here: content, settings"""
    tasks: tuple[Row, ...]
    total: Row
    parts: tuple[Row, ...]
    """per task and factor, where there is more than one factor; and the total without camera variants"""

    def mean_of_tasks(self, rule: SuccessRule) -> float | None:
        """The mean of the tasks' rates, each task counting the same; what papers call the average."""
        rates = [task.rate(rule) for task in self.tasks]
        values = [rate.value for rate in rates if rate is not None]
        return sum(values) / len(values) if values and len(values) == len(rates) else None


def summarise(results: Iterable[EpisodeResult]) -> list[SettingSummary]:
    """One summary per setting, in order of first appearance of its tasks in the suite."""
    settings: dict[Setting, list[EpisodeResult]] = {}
    for result in results:
        settings.setdefault(Setting.of(result), []).append(result)

    def order(setting: Setting) -> tuple:
        latency = -1.0 if setting.latency_ms is None else setting.latency_ms
        same = setting.training, setting.code, setting.identity, setting.settings
        return setting.suite, setting.policy, setting.clock, latency, *same

    return [_summary(setting, _name(setting, settings), settings[setting]) for setting in sorted(settings, key=order)]


def _name(setting: Setting, among: Iterable[Setting]) -> str:
    """The policy's label; where others have it too, with what tells them apart."""
    namesakes = [other for other in among if (other.suite, other.policy) == (setting.suite, setting.policy)]
    marks = []
    if len({other.identity for other in namesakes}) > 1:
        marks.append(setting.content)
    if len({other.settings for other in namesakes}) > 1:
        marks.append(setting.settings or "usual settings")
    return f"{setting.policy} ({', '.join(marks)})" if marks else setting.policy


def grouped(results: Sequence[EpisodeResult], name: str) -> list[Row]:
    """Rows by an attribute of the episode."""
    groups: dict[str, list[EpisodeResult]] = {}
    for result in results:
        groups.setdefault(str(getattr(result.episode, name)), []).append(result)
    return [Row(label, tuple(group)) for label, group in groups.items()]


@functools.cache
def _task_order(suite: str) -> dict[str, int]:
    """Task -> its place in the suite; nothing for suites that are only files."""
    if suite not in SUITES:
        return {}
    return {task: place for place, task in enumerate(dict.fromkeys(e.task for e in suite_episodes(suite)))}


def _summary(setting: Setting, name: str, results: list[EpisodeResult]) -> SettingSummary:
    place = _task_order(setting.suite)
    tasks = sorted(grouped(results, "task"), key=lambda row: place.get(row.label, len(place)))
    parts: list[Row] = []
    for task in tasks:
        factors = grouped(task.results, "factor")
        if len(factors) > 1:
            parts += [Row(f"{task.label}, {factor.label}", factor.results) for factor in factors]
            without = tuple(r for r in task.results if r.episode.factor != "camera")
            if len(without) != len(task.results):
                parts.append(Row(f"{task.label}, without camera variants", without))
    return SettingSummary(setting, name, tuple(tasks), Row("all episodes", tuple(results)), tuple(parts))


def text_table(summaries: Sequence[SettingSummary], width: int) -> str:
    """The summaries as plain text of at most `width` columns, all three rules side by side."""
    lines = wrapped("successes of episodes [Wilson's 95 % interval, %] by success rule", width)
    for summary in summaries:
        setting = summary.setting
        title = f"{setting.suite}: {summary.name}, {setting.how} (training: {setting.training})"
        rows = []
        for row in (*summary.tasks, summary.total):
            rates = (row.rate(rule) for rule in SUCCESS_RULES)
            cells = ("–" if rate is None else str(rate).removesuffix(" %") for rate in rates)
            rows.append((row.label, *cells, str(row.errors)))
        lines += ["", *wrapped(title, width), *table(("", *SUCCESS_RULES, "errors"), rows, width)]
    return "\n".join(lines)
