"""Summaries of questions as a table for people and numbers for programs."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

from magma_contracts.text import printable
from magma_eval.questions.benchmarks import PublishedScore, published_scores
from magma_eval.questions.summary import Score, TaskSummary

SHOWN_PROBLEMS = 5


def as_text(summaries: Sequence[TaskSummary], width: int) -> str:
    """A table, and under it what else is to be known of each task."""
    head = f"{'task':28} {'n':>6} {'score':>22} {'unread':>7} {'chance':>7} {'majority':>8}"
    lines = [head]
    for one in summaries:
        chance = "–" if one.chance is None else f"{100 * one.chance:.1f}"
        lines.append(
            f"{printable(one.task, 28):28} {one.count:6d} {_shown(one.score):>22} {one.unparsed:7d} {chance:>7} "
            f"{100 * one.majority:8.1f}"
        )
    lines.append("score in %, with its 95 % interval; unread: answers that name nothing, counted as wrong")
    for one in summaries:
        lines += ["", f"{printable(one.task)} ({printable(one.model)}): {_counts(one)}"]
        lines += _harness(one)
        published = published_scores(one.set.name) if one.set.name else []
        lines += published_lines(published)
        lines += [f"  left out: {problem}" for problem in one.problems[:SHOWN_PROBLEMS]]
        if len(one.problems) > SHOWN_PROBLEMS:
            lines.append(f"  left out: {len(one.problems) - SHOWN_PROBLEMS} more")
    # The table itself is as wide as it is.
    wrapped = [
        textwrap.fill(line, width, subsequent_indent="    ") if line.startswith("  ") else line for line in lines
    ]
    return "\n".join(wrapped)


def as_numbers(summaries: Sequence[TaskSummary]) -> list[dict[str, Any]]:
    """All of it, for programs; scores are fractions, published ones percent."""
    found = []
    for one in summaries:
        data = {field.name: getattr(one, field.name) for field in dataclasses.fields(one)}
        data |= {"set": one.set.name, "slip": one.set.slip, "problems": list(one.problems)}
        data["score"] = dataclasses.asdict(one.score)
        data["harness"] = dataclasses.asdict(one.harness) if one.harness is not None else None
        named = published_scores(one.set.name) if one.set.name else []
        data["published"] = [dataclasses.asdict(score) for score in named]
        found.append(data)
    return found


def _counts(one: TaskSummary) -> str:
    about = f" about {one.clusters} pictures or videos" if one.clusters < one.count else ""
    return f"{one.count} questions{about}, interval: {one.score.method}"


def _harness(one: TaskSummary) -> list[str]:
    if one.harness is None:
        return []
    slip = f" ({one.set.slip})" if one.set.slip else ""
    return [f"  as lmms-eval scores{slip}: {_shown(one.harness)} of {one.harness_count}; {one.differ} questions differ"]


def published_lines(scores: Sequence[PublishedScore]) -> list[str]:
    """One line for each protocol and source."""
    groups: dict[tuple[str, str], dict[str, list[str]]] = {}
    for score in scores:
        part = f" ({score.part})" if score.part else ""
        group = groups.setdefault((score.protocol, score.source), {})
        group.setdefault(score.model, []).append(f"{score.score:.1f}{part}")
    lines = []
    for (protocol, source), models in groups.items():
        told = ", ".join(f"{model} {' · '.join(values)}" for model, values in models.items())
        lines.append(f"  published, {protocol} [{source}]: {told}")
    return lines


def _shown(score: Score) -> str:
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"
