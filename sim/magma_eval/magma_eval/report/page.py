"""One self-contained HTML page about one or more runs, and the same numbers as JSON."""

from __future__ import annotations

import base64
import datetime
import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from magma_eval.confidence_intervals import Rate
from magma_eval.report.charts import Bar, Curve, interval_plot, latency_plot
from magma_eval.report.clips import Clip
from magma_eval.report.published import PublishedRate, published_rates
from magma_eval.results.episode_result import RULE_TEXT, SUCCESS_RULES, EpisodeResult, Stage, SuccessRule
from magma_eval.results.run_folder import RunFolder
from magma_eval.suites import SUITES
from magma_eval.summary import Row, SettingSummary, grouped, summarise

_STYLE = Path(__file__).with_name("report.css")


def numbers(runs: Sequence[RunFolder], rule: SuccessRule) -> dict[str, Any]:
    """The report's rates as JSON values."""

    def row(row: Row) -> dict[str, Any]:
        rates: dict[str, Any] = {}
        for each in SUCCESS_RULES:
            rate = row.rate(each)
            if rate is not None:
                low, high = rate.interval
                rates[each] = {
                    "successes": rate.successes,
                    "count": rate.count,
                    "low": round(low, 5),
                    "high": round(high, 5),
                }
        return {"label": row.label, "rates": rates, "errors": row.errors, "notes": list(row.notes)}

    return {
        "rule": rule,
        "folders": [{"folder": str(run.folder), "content": run.content} for run in runs],
        "settings": [
            {
                "name": summary.name,
                "setting": vars(summary.setting),
                "tasks": [row(task) for task in summary.tasks],
                "parts": [row(part) for part in summary.parts],
                "total": row(summary.total),
                "mean_of_tasks": {each: summary.mean_of_tasks(each) for each in SUCCESS_RULES},
            }
            for summary in summarise(result for run in runs for result in run.results)
        ],
    }


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
    body = [_head(runs, results, rule, remarks), _tables(summaries, rule), _plots(summaries, rule)]
    body += [_latency(summaries, rule), _clips(clips, rule, embed, page), _trouble(results, rule)]
    body += [_times(summaries), _published(summaries), _commands(runs), _method()]
    title = "Evaluation: " + ", ".join(dict.fromkeys(s.name for s in summaries))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _head(
    runs: Sequence[RunFolder], results: Sequence[EpisodeResult], rule: SuccessRule, remarks: Sequence[str]
) -> str:
    errors = sum(result.success is None for result in results)
    policies = ", ".join(dict.fromkeys(result.key.policy for result in results))
    suites = ", ".join(dict.fromkeys(result.key.suite for result in results))
    made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    duplicates = sum(run.duplicates for run in runs)
    facts = [f"{len(results)} episodes", f"{errors} errors", f"made {made}"]
    if duplicates:
        facts.append(f"{duplicates} repeated lines left out")
    parts = [f"<h1>{escape(policies)} on {escape(suites)}</h1>", f'<p class="muted">{escape(" · ".join(facts))}</p>']
    parts.append(f"<p>Success: {escape(RULE_TEXT[rule])}. Intervals are Wilson's, 95 %.</p>")
    notes = dict.fromkeys([*remarks, *(note for result in results for note in result.notes)])
    parts += [f'<p class="note bad">{escape(note)}</p>' for note in notes]
    if errors:
        parts.append(
            f'<p class="note bad">{errors} episodes ended in an error of the simulator or of the connection. They are '
            "not counted as failures of the policy, nor as anything else.</p>"
        )
    return "".join(parts)


def _tables(summaries: Sequence[SettingSummary], rule: SuccessRule) -> str:
    parts = ["<h2>Success rates</h2>"]
    for summary in summaries:
        setting = summary.setting
        parts.append(f"<h3>{escape(setting.suite)}: {escape(summary.name)}, {escape(setting.how)}</h3>")
        tags = [f"training: {setting.training}", f"content {setting.content}", setting.settings, f"code {setting.code}"]
        parts.append("<p>" + " ".join(f'<span class="tag">{escape(tag)}</span>' for tag in tags if tag) + "</p>")
        corrected = sum(bool(result.corrected_by) for result in summary.total.results)
        if corrected:
            devices = sorted({device for result in summary.total.results for device in result.corrected_by})
            text = f"In {corrected} episodes an operator moved the arm ({', '.join(devices)}): not the policy's alone."
            parts.append(f'<p class="note bad">{escape(text)}</p>')
        rows = [_table_row(row, rule) for row in (*summary.tasks, *summary.parts, summary.total)]
        means = [_mean_cell(summary.mean_of_tasks(each), each == rule) for each in SUCCESS_RULES]
        rows.append([f"mean of the {len(summary.tasks)} tasks", *means, "", "", ""])
        parts.append(_table(["task", *SUCCESS_RULES, "first reached", "errors", "refused actions"], rows))
    return "".join(parts)


class _Cell(str):
    """A table's cell that is HTML already, its tag included, made in this file with everything in it escaped."""


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table. Whatever is no `_Cell` is text, and is escaped here."""

    def line(cells: Sequence[object]) -> str:
        made = (cell if isinstance(cell, _Cell) else f"<td>{escape(str(cell))}</td>" for cell in cells)
        return "<tr>" + "".join(made) + "</tr>"

    titles = "".join(f"<th>{escape(str(title))}</th>" for title in head)
    body = "".join(line(row) for row in rows)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _left(text: object) -> _Cell:
    """A cell of words."""
    return _Cell(f'<td class="left">{escape(str(text))}</td>')


def _table_row(row: Row, rule: SuccessRule) -> list[object]:
    steps = f"step {row.steps_to_success:.1f}" if row.steps_to_success is not None else "–"
    errors = _Cell(f'<td class="bad">{int(row.errors)}</td>') if row.errors else 0
    rates = [_rate_cell(row.rate(each), each == rule) for each in SUCCESS_RULES]
    return [row.label, *rates, steps, errors, row.rejected_actions]


def _rate_cell(rate: Rate | None, chosen: bool) -> _Cell:
    kind = ' class="rule"' if chosen else ""
    if rate is None:
        return _Cell(f'<td{kind} title="not every episode was played in a way that tells">–</td>')
    low, high = rate.interval
    return _Cell(
        f"<td{kind}>{rate.successes}/{rate.count} = {100 * rate.value:.1f} %<br>"
        f'<span class="interval">[{100 * low:.1f}, {100 * high:.1f}]</span></td>'
    )


def _mean_cell(mean: float | None, chosen: bool) -> _Cell:
    kind = ' class="rule"' if chosen else ""
    return _Cell(f"<td{kind}>–</td>" if mean is None else f"<td{kind}>{100 * mean:.1f} %</td>")


def _plots(summaries: Sequence[SettingSummary], rule: SuccessRule) -> str:
    curves = _curves(summaries, rule)
    # What the curve of success against latency shows need not be shown here too.
    shown = [s for s in summaries if s.setting.latency_ms is None or _curve_name(s) not in curves]
    parts = []
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
                    bars.append(Bar.of(_short(summary), rate, number))
            bars += [_published_bar(other) for other in others if other.task == task]
            groups.append((task, bars))
        totals = [bar for number, summary in enumerate(mine) for bar in _total_bars(summary, rule, number)]
        groups.append(("all tasks", totals + [_published_bar(other) for other in others if other.task == "mean"]))
        if any(bars for _, bars in groups):
            parts.append(f'<h3>{escape(suite)}</h3><div class="scroll">{interval_plot(groups)}</div>')
    if not parts:
        return ""
    legend = (
        '<p class="muted">Filled: measured here. Hollow: published elsewhere, with an interval where the number of '
        "episodes is known. Compare only what was trained and measured alike: see the training labels above.</p>"
    )
    return "<h2>Rates with intervals, beside what others published</h2>" + legend + "".join(parts)


def _total_bars(summary: SettingSummary, rule: SuccessRule, colour: int) -> list[Bar]:
    """Over all episodes; and the mean of the tasks, which is what papers give, where that is something else."""
    rate, mean = summary.total.rate(rule), summary.mean_of_tasks(rule)
    if rate is None:
        return []
    if mean is None or len({len(task.results) for task in summary.tasks}) == 1:
        return [Bar.of(_short(summary), rate, colour)]
    of_tasks = Bar(f"{_short(summary)}, mean of tasks", mean, None, None, "", own=True, colour=colour)
    return [of_tasks, Bar.of(f"{_short(summary)}, all episodes", rate, colour)]


def _short(summary: SettingSummary) -> str:
    setting = summary.setting
    return summary.name if setting.clock == "lockstep" else f"{summary.name}, {setting.how}"


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


def _latency(summaries: Sequence[SettingSummary], rule: SuccessRule) -> str:
    curves = _curves(summaries, rule)
    if not curves:
        return ""
    lockstep = {_curve_name(s): s.total.rate(rule) for s in summaries if s.setting.clock == "lockstep"}
    plot = latency_plot([Curve(name, points, number) for number, (name, points) in enumerate(curves.items())])
    latencies = sorted({latency for points in curves.values() for latency, _ in points})
    rows = []
    for name, points in curves.items():
        known = dict(points)
        cells = [str(known.get(latency, "–")) for latency in latencies]
        rows.append([name, lockstep.get(name, "–"), *cells])
    return (
        "<h2>Success against latency</h2>"
        '<p class="muted">Real time: the world runs on while the policy thinks, and every answer takes this long. '
        "Until an answer is there, the arm goes on with what it was told before.</p>"
        f'<div class="scroll">{plot}</div>'
        + _table(["", "lock-step", *(f"{latency:g} ms" for latency in latencies)], rows)
    )


def _clips(clips: Sequence[Clip], rule: SuccessRule, embed: bool, page: Path | None) -> str:
    if not clips:
        return ""
    parts = ["<h2>Videos: failures first</h2>"]
    for verdict, title in ((False, "Failures"), (True, "Successes")):
        shown = [
            clip for clip in clips if clip.result.success is not None and clip.result.success.under(rule) is verdict
        ]
        if not shown:
            continue
        figures = "".join(_figure(clip, embed, page) for clip in shown)
        parts.append(f'<h3>{title}</h3><div class="clips">{figures}</div>')
    return "".join(parts)


def _figure(clip: Clip, embed: bool, page: Path | None) -> str:
    if embed:
        source = "data:video/mp4;base64," + base64.b64encode(clip.path.read_bytes()).decode()
    else:
        base = (page or clip.path).resolve().parent
        source = os.path.relpath(clip.path.resolve(), base)
    key = clip.result.key
    what = f"{key.policy}: {key.task} {key.variant} {key.episode_id}"
    if clip.result.latency_ms is not None:
        what += f", {clip.result.latency_ms:g} ms"
    if not clip.faithful:
        what += " (the replay differs from the recorded episode)"
    return (
        f'<figure><video controls muted playsinline preload="metadata" src="{escape(source)}"></video>'
        f"<figcaption>{escape(what)}</figcaption></figure>"
    )


def _trouble(results: Sequence[EpisodeResult], rule: SuccessRule) -> str:
    parts = []
    errors = [result for result in results if result.success is None]
    if errors:
        rows = [[_name(result), result.attempts, _left(result.error)] for result in errors]
        parts.append("<h2>Errors</h2>" + _table(["episode", "attempts", "what happened"], rows))
    failed = [result for result in results if result.success is not None and result.success.under(rule) is False]
    if failed:
        rows = []
        for summary in summarise(failed):
            for task in summary.tasks:
                for variant in grouped(task.results, "variant"):
                    ids = [f"{r.key.episode_id}{'*' if r.first_success_step else ''}" for r in variant.results]
                    place = _left(f"{task.label} {variant.label}")
                    rows.append([_short(summary), place, _left(", ".join(ids))])
        parts.append('<h2>Failed episodes</h2><p class="muted">Their numbers; * the goal held for a while.</p>')
        parts.append(_table(["policy", "task and variant", "episodes"], rows))
    return "".join(parts)


def _name(result: EpisodeResult) -> str:
    key = result.key
    return f"{key.suite} {key.task} {key.variant} {key.episode_id} seed {key.seed}"


def _times(summaries: Sequence[SettingSummary]) -> str:
    parts = [
        "<h2>Times</h2>",
        '<p class="muted">Milliseconds per call. Median and 95th percentile are those of the middle episode; largest '
        "is over all. Several workers on few cores slow each other down.</p>",
    ]
    for summary in summaries:
        stages: dict[str, list[Stage]] = {}
        for result in summary.total.results:
            for name, stage in result.stages.items():
                stages.setdefault(name, []).append(stage)
        if not stages:
            continue
        rows = []
        for name, values in stages.items():
            calls = sum(stage.count for stage in values)
            mean = sum(stage.count * stage.mean for stage in values) / calls
            middle = sorted(stage.median for stage in values)[len(values) // 2]
            high = sorted(stage.p95 for stage in values)[len(values) // 2]
            largest = max(stage.largest for stage in values)
            cells = [_milliseconds(value) for value in (mean, middle, high, largest)]
            rows.append([name, calls, *cells])
        seconds = sum(result.seconds for result in summary.total.results)
        steps = sum(result.steps for result in summary.total.results)
        speed = steps / max(seconds, 1e-9)
        parts.append(f"<h3>{escape(summary.setting.suite)}: {escape(_short(summary))}</h3>")
        parts.append(_table(["stage", "calls", "mean", "median", "95 %", "largest"], rows))
        parts.append(
            f'<p class="muted">{steps} steps in {seconds:.0f} s of worker time: {speed:.1f} steps/s per worker.</p>'
        )
    return "".join(parts)


def _milliseconds(value: float) -> str:
    digits = 0 if value >= 100 else 1 if value >= 1 else 3
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _published(summaries: Sequence[SettingSummary]) -> str:
    rates = [rate for suite in dict.fromkeys(s.setting.suite for s in summaries) for rate in published_rates(suite)]
    rates = list(dict.fromkeys(rates))
    if not rates:
        return ""
    rows = [
        [
            rate.model,
            _left(rate.task),
            f"{100 * rate.rate:.1f} %",
            rate.episodes or "–",
            _left(rate.note),
            _left(rate.source),
        ]
        for rate in rates
    ]
    return "<h2>Published numbers</h2>" + _table(["model", "task", "success", "episodes", "note", "source"], rows)


def _commands(runs: Sequence[RunFolder]) -> str:
    parts = ["<h2>How to repeat it</h2>"]
    for run in runs:
        commands = "\n".join(run.run["commands"]) or "(made from Python)"
        machine = ", ".join(f"{name} {value}" for name, value in run.run["machine"].items())
        versions = ", ".join(f"{name} {value}" for name, value in run.run["versions"].items())
        title = SUITES[run.run["suite"]].title if run.run["suite"] in SUITES else run.run["suite"]
        parts.append(f"<h3>{escape(str(run.folder.name))}: {escape(title)}</h3><pre>{escape(commands)}</pre>")
        known = {**run.run["identity"], "folder's content": run.content}
        identity = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
        parts.append(f'<p class="muted">{escape(machine)}. {escape(versions)}. {escape(identity)}.</p>')
    return "".join(parts)


def _method() -> str:
    rules = "".join(f"<li><b>{rule}</b>: {escape(RULE_TEXT[rule])}</li>" for rule in SUCCESS_RULES)
    return (
        f"<h2>How the numbers are made</h2><ul>{rules}</ul><p>The flag is computed anew after every step and is not "
        "latched, so “ever” is at least “last”. Under “first” the episode ends at the first success, so “last” and "
        "“ever” are unknown for it. Rates are successes over finished episodes; the mean of tasks weighs each task "
        "alike. Errors of simulator or connection are counted apart.</p>"
    )
