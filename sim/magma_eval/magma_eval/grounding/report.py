"""Summaries of sets as lines for people and numbers for programs, beside published figures."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

from magma_contracts.text import printable
from magma_eval.grounding.summary import Figure, SetSummary
from magma_eval.questions.benchmarks import published_scores
from magma_eval.questions.report import published_lines

ROOM = "magma_eval.grounding"


def as_text(summaries: Sequence[SetSummary], model: str, width: int) -> str:
    """Each set with its figures, what went wrong, a floor, and what others report."""
    lines = []
    for one in summaries:
        lines.append(f"{one.set.benchmark} {printable(one.set.split, 40)}: {one.asked} questions ({printable(model)})")
        lines += [_line(figure) for figure in one.figures]
        lines += [f"{_line(figure)} (floor)" for figure in one.floor]
        lines.append(
            f"  {one.undecodable} answers undecodable or empty, {one.missing} missing; all of them count as wrong"
        )
        lines += [f"  {note}" for note in one.set.notes]
        lines += published_lines(published_scores(one.set.benchmark, ROOM))
        lines.append("")
    lines.append("in %, CIDEr x 100; 95 % intervals by pictures: questions about one hang together")
    # The figures themselves are as wide as they are.
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="    ") if line.startswith("  published") else line
        for line in lines
    )


def as_numbers(summaries: Sequence[SetSummary], model: str) -> list[dict[str, Any]]:
    """All of it, for programs; scores are shares (CIDEr as its tool gives it), published ones percent."""
    return [
        {
            "benchmark": one.set.benchmark,
            "split": one.set.split,
            "model": model,
            "asked": one.asked,
            "undecodable": one.undecodable,
            "missing": one.missing,
            "figures": [dataclasses.asdict(figure) for figure in one.figures],
            "floor": [dataclasses.asdict(figure) for figure in one.floor],
            "notes": list(one.set.notes),
            "published": [dataclasses.asdict(score) for score in published_scores(one.set.benchmark, ROOM)],
        }
        for one in summaries
    ]


def _line(figure: Figure) -> str:
    score = figure.score
    shown = f"{100 * score.value:6.2f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"
    return f"  {figure.name:28} {shown:24} of {figure.count} about {figure.pictures} pictures, {score.method}"
