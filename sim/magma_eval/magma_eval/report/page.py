"""One self-contained HTML page about one or more runs."""

from __future__ import annotations

import base64
import datetime
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from magma_eval.confidence_intervals import Rate
from magma_eval.report.charts import interval_plot, latency_plot
from magma_eval.report.clips import Clip
from magma_eval.report.comparison import (
    LEGEND,
    PAIR_TITLES,
    POLICY_TITLES,
    Contest,
    contests,
    pair_rows,
    policy_rows,
)
from magma_eval.report.figures import latencies, rate_bars, short_name
from magma_eval.report.published import published_rates
from magma_eval.results.episode_result import RULE_TEXT, SUCCESS_RULES, EpisodeResult, Stage, SuccessRule
from magma_eval.results.run_folder import RunFolder
from magma_eval.suites import SUITES
from magma_eval.summary import Row, SettingSummary, grouped, summarise

_STYLE = Path(__file__).with_name("report.css")


@dataclass(frozen=True)
class Cell:
    """A table's cell; whatever else stands in a row is a cell of plain text."""

    text: object
    kind: str = ""
    """class of the style sheet"""
    below: str = ""
    """second line, smaller"""
    title: str = ""
    """shown when pointed at"""


@dataclass(frozen=True)
class Table:
    """Titles of the columns, and rows of cells."""

    titles: Sequence[object]
    rows: Sequence[Sequence[object]]

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, all of cells."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]


def render(
    runs: Sequence[RunFolder],
    rule: SuccessRule,
    clips: Sequence[Clip] = (),
    *,
    embed: bool = True,
    page: Path | None = None,
    remarks: Sequence[str] = (),
) -> str:
    """The page.

    Args:
        runs: what to report.
        rule: the rule that headlines use; all three stand in the tables.
        clips: videos to show.
        embed: put the videos into the page; otherwise they are linked relative to `page`.
        page: where the page will be, for links.
        remarks: what the reader must know, such as that no videos could be made.
    """
    results = [result for run in runs for result in run.results]
    summaries = summarise(results)
    late = latencies(summaries, rule)
    # Everything that is not `Markup` is escaped: names and texts in results come from anybody.
    pages = Environment(loader=PackageLoader("magma_eval", "report"), autoescape=True, undefined=StrictUndefined)
    return pages.get_template("report.html.jinja").render(
        style=Markup(_STYLE.read_text(encoding="utf-8")),
        title="Evaluation: " + ", ".join(dict.fromkeys(s.name for s in summaries)),
        heading=_heading(results),
        facts=" · ".join(_facts(runs, results)),
        rule=RULE_TEXT[rule],
        notes=list(dict.fromkeys([*remarks, *(note for result in results for note in result.notes)])),
        errors=sum(result.success is None for result in results),
        settings=[_setting(summary, rule) for summary in summaries],
        plots={suite: Markup(interval_plot(groups)) for suite, groups in rate_bars(summaries, rule).items()},
        contests=[_contest(contest) for contest in contests(runs, rule)],
        contest_legend=LEGEND,
        latency=None if late is None else (Markup(latency_plot(late.curves)), _latency_table(late)),
        videos=list(_videos(clips, rule, embed, page)),
        error_table=_error_table(results),
        failed_table=_failed_table(results, rule),
        times=list(_times(summaries)),
        published=_published(summaries),
        runs=[_run(run) for run in runs],
        rules=[(name, RULE_TEXT[name]) for name in SUCCESS_RULES],
    )


def _heading(results: Sequence[EpisodeResult]) -> str:
    policies = ", ".join(dict.fromkeys(result.key.policy for result in results))
    return f"{policies} on {', '.join(dict.fromkeys(result.key.suite for result in results))}"


def _facts(runs: Sequence[RunFolder], results: Sequence[EpisodeResult]) -> Iterator[str]:
    yield f"{len(results)} episodes"
    yield f"{sum(result.success is None for result in results)} errors"
    yield f"made {datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC')}"
    if duplicates := sum(run.duplicates for run in runs):
        yield f"{duplicates} repeated lines left out"


# Success rates.


def _setting(summary: SettingSummary, rule: SuccessRule) -> dict[str, Any]:
    setting = summary.setting
    tags = [f"training: {setting.training}", f"content {setting.content}", setting.settings, f"code {setting.code}"]
    corrected = [result for result in summary.total.results if result.corrected_by]
    devices = sorted({device for result in corrected for device in result.corrected_by})
    rows = [_rate_row(row, rule) for row in (*summary.tasks, *summary.parts, summary.total)]
    means = [_mean_cell(summary.mean_of_tasks(each), each == rule) for each in SUCCESS_RULES]
    rows.append([f"mean of the {len(summary.tasks)} tasks", *means, "", "", ""])
    return {
        "title": f"{setting.suite}: {summary.name}, {setting.how}",
        "tags": [tag for tag in tags if tag],
        "corrected": f"In {len(corrected)} episodes an operator moved the arm ({', '.join(devices)}): not the policy's "
        "alone."
        if corrected
        else "",
        "table": Table(["task", *SUCCESS_RULES, "first reached", "errors", "refused actions"], rows),
    }


def _rate_row(row: Row, rule: SuccessRule) -> list[object]:
    steps = f"step {row.steps_to_success:.1f}" if row.steps_to_success is not None else "–"
    errors = Cell(row.errors, "bad") if row.errors else 0
    rates = [_rate_cell(row.rate(each), each == rule) for each in SUCCESS_RULES]
    return [row.label, *rates, steps, errors, row.rejected_actions]


def _rate_cell(rate: Rate | None, chosen: bool) -> Cell:
    kind = "rule" if chosen else ""
    if rate is None:
        return Cell("–", kind, title="not every episode was played in a way that tells")
    low, high = rate.interval
    text = f"{rate.successes}/{rate.count} = {100 * rate.value:.1f} %"
    return Cell(text, kind, below=f"[{100 * low:.1f}, {100 * high:.1f}]")


def _mean_cell(mean: float | None, chosen: bool) -> Cell:
    return Cell("–" if mean is None else f"{100 * mean:.1f} %", "rule" if chosen else "")


def _contest(contest: Contest) -> dict[str, Any]:
    def cells(rows: Sequence[Sequence[str]], texts: int) -> list[list[object]]:
        return [[*(Cell(text, "left") for text in row[:texts]), *row[texts:]] for row in rows]

    return {
        "title": f"{contest.title}: {contest.shared} episodes that all have finished",
        "policies": Table(POLICY_TITLES, cells(policy_rows(contest), 1)),
        "pairs": Table(PAIR_TITLES, cells(pair_rows(contest), 2)),
    }


def _latency_table(late: Any) -> Table:
    rows = [
        [name, late.lockstep.get(name, "–"), *(str(rates.get(latency, "–")) for latency in late.latencies_ms)]
        for name, rates in late.rates.items()
    ]
    return Table(["", "lock-step", *(f"{latency:g} ms" for latency in late.latencies_ms)], rows)


# Episodes.


def _videos(
    clips: Sequence[Clip], rule: SuccessRule, embed: bool, page: Path | None
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Failures, then successes: the title, and source and caption of each video."""
    for verdict, title in ((False, "Failures"), (True, "Successes")):
        shown = [
            clip for clip in clips if clip.result.success is not None and clip.result.success.under(rule) is verdict
        ]
        if shown:
            yield title, [{"source": _source(clip, embed, page), "caption": _caption(clip)} for clip in shown]


def _source(clip: Clip, embed: bool, page: Path | None) -> str:
    if embed:
        return "data:video/mp4;base64," + base64.b64encode(clip.path.read_bytes()).decode()
    return os.path.relpath(clip.path.resolve(), (page or clip.path).resolve().parent)


def _caption(clip: Clip) -> str:
    key = clip.result.key
    what = f"{key.policy}: {key.task} {key.variant} {key.episode_id}"
    if clip.result.latency_ms is not None:
        what += f", {clip.result.latency_ms:g} ms"
    return what + ("" if clip.faithful else " (the replay differs from the recorded episode)")


def _error_table(results: Sequence[EpisodeResult]) -> Table | None:
    rows = []
    for result in results:
        if result.success is None:
            key = result.key
            name = f"{key.suite} {key.task} {key.variant} {key.episode_id} seed {key.seed}"
            rows.append([name, result.attempts, Cell(result.error, "left")])
    return Table(["episode", "attempts", "what happened"], rows) if rows else None


def _failed_table(results: Sequence[EpisodeResult], rule: SuccessRule) -> Table | None:
    failed = [result for result in results if result.success is not None and result.success.under(rule) is False]
    rows: list[list[object]] = []
    for summary in summarise(failed):
        for task in summary.tasks:
            for variant in grouped(task.results, "variant"):
                ids = [f"{r.key.episode_id}{'*' if r.first_success_step else ''}" for r in variant.results]
                place = Cell(f"{task.label} {variant.label}", "left")
                rows.append([short_name(summary), place, Cell(", ".join(ids), "left")])
    return Table(["policy", "task and variant", "episodes"], rows) if rows else None


# Times, and where everything comes from.


def _times(summaries: Sequence[SettingSummary]) -> Iterator[dict[str, Any]]:
    for summary in summaries:
        stages: dict[str, list[Stage]] = {}
        for result in summary.total.results:
            for name, stage in result.stages.items():
                stages.setdefault(name, []).append(stage)
        if not stages:
            continue
        seconds = sum(result.seconds for result in summary.total.results)
        steps = sum(result.steps for result in summary.total.results)
        speed = f"{steps} steps in {seconds:.0f} s of worker time: {steps / max(seconds, 1e-9):.1f} steps/s per worker."
        rows = [_stage_row(name, values) for name, values in stages.items()]
        yield {
            "title": f"{summary.setting.suite}: {short_name(summary)}",
            "table": Table(["stage", "calls", "mean", "median", "95 %", "largest"], rows),
            "speed": speed,
        }


def _stage_row(name: str, values: Sequence[Stage]) -> list[object]:
    calls = sum(stage.count for stage in values)
    mean = sum(stage.count * stage.mean for stage in values) / calls
    middle = sorted(stage.median for stage in values)[len(values) // 2]
    high = sorted(stage.p95 for stage in values)[len(values) // 2]
    largest = max(stage.largest for stage in values)
    return [name, calls, *(_milliseconds(value) for value in (mean, middle, high, largest))]


def _milliseconds(value: float) -> str:
    digits = 0 if value >= 100 else 1 if value >= 1 else 3
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _published(summaries: Sequence[SettingSummary]) -> Table | None:
    rates = [
        rate
        for suite in dict.fromkeys(s.setting.suite for s in summaries)
        for rate in published_rates(suite, related=True)
    ]
    rows = [
        [
            rate.model,
            Cell(rate.task, "left"),
            f"{100 * rate.rate:.1f} %",
            rate.episodes or "–",
            Cell(rate.protocol, "left"),
            Cell(rate.note, "left"),
            Cell(rate.source, "left"),
        ]
        for rate in dict.fromkeys(rates)
    ]
    return Table(["model", "task", "success", "episodes", "protocol", "note", "source"], rows) if rows else None


def _run(run: RunFolder) -> dict[str, str]:
    suite = run.run["suite"]
    known = {**run.run["identity"], "folder's content": run.content}
    versions = ", ".join(f"{name} {value}" for name, value in run.run["versions"].items())
    machine = ", ".join(f"{name} {value}" for name, value in run.run["machine"].items())
    identity = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
    return {
        "title": f"{run.folder.name}: {SUITES[suite].title if suite in SUITES else suite}",
        "commands": "\n".join(run.run["commands"]) or "(made from Python)",
        "made_with": f"{machine}. {versions}. {identity}.",
    }
