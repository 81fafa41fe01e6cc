"""Compares two policies: on the episodes that both played, and as independent samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magma_eval.confidence_intervals import (
    Difference,
    PairedOutcomes,
    Rate,
    difference_of_rates,
    episodes_needed,
    paired_episodes_needed,
)
from magma_eval.report.text_tables import table, wrapped
from magma_eval.results.episode_result import EpisodeResult, ResultsError, SuccessRule


@dataclass(frozen=True)
class Comparison:
    """Two policies on one task, or on all."""

    label: str
    first: Rate
    """over all its episodes"""
    second: Rate
    paired: PairedOutcomes | None
    """on the shared episodes; None when there are none"""

    @property
    def difference(self) -> Difference:
        """First minus second: on the shared episodes where both played the same ones, else as independent samples."""
        return (
            self.paired.difference if self._all_shared and self.paired else difference_of_rates(self.first, self.second)
        )

    @property
    def method(self) -> str:
        """Which interval `difference` is."""
        return "Newcombe, paired" if self._all_shared else "Newcombe, independent"

    @property
    def needed(self) -> str:
        """How many episodes would show a difference of this size with 80 % power."""
        if self._all_shared and self.paired is not None:
            paired = self.paired
            discordant = (paired.only_first + paired.only_second) / paired.count
            if paired.only_first == paired.only_second:
                return "–"
            return str(paired_episodes_needed((paired.only_first - paired.only_second) / paired.count, discordant))
        if self.first.value == self.second.value:
            return "–"
        return f"{episodes_needed(self.first.value, self.second.value)} per policy"

    @property
    def _all_shared(self) -> bool:
        return self.paired is not None and self.paired.count == self.first.count == self.second.count


def compare(first: Sequence[EpisodeResult], second: Sequence[EpisodeResult], rule: SuccessRule) -> list[Comparison]:
    """Per task, and over all tasks when there are several.

    Raises:
        ResultsError: one side has no verdicts under this rule, repeats an episode in different settings, or the
            two have no task in common.
    """
    mine, theirs = _verdicts(first, rule), _verdicts(second, rule)
    tasks = list(dict.fromkeys(start[:2] for start in mine if any(start[:2] == other[:2] for other in theirs)))
    if not tasks:
        raise ResultsError("the two have no task in common")
    rows = [_comparison(task[1], mine, theirs, [task]) for task in tasks]
    if len(tasks) > 1:
        rows.append(_comparison("all", mine, theirs, tasks))
    return rows


def text_table(rows: Sequence[Comparison], first: str, second: str, width: int = 120) -> str:
    """The comparison as plain text of at most `width` columns."""
    header = ("task", "first", "second", "difference", "McNemar p", "shared", "to show it")
    cells = [
        (
            row.label,
            str(row.first),
            str(row.second),
            str(row.difference),
            "–" if row.paired is None else f"{row.paired.mcnemar_p:.2g}",
            "0" if row.paired is None else str(row.paired.count),
            row.needed,
        )
        for row in rows
    ]
    methods = ", ".join(sorted({row.method for row in rows}))
    legend = (
        f"difference: first minus second with its 95 % interval ({methods}); McNemar: exact, on the shared episodes; "
        "to show it: episodes for 80 % power at this difference"
    )
    titles = [*wrapped(f"first: {first}", width), *wrapped(f"second: {second}", width)]
    return "\n".join([*titles, "", *table(header, cells, width), "", *wrapped(legend, width)])


_Start = tuple


def _verdicts(results: Sequence[EpisodeResult], rule: SuccessRule) -> dict[_Start, bool]:
    found: dict[_Start, bool] = {}
    for result in results:
        if result.success is None:
            continue
        verdict = result.success.under(rule)
        if verdict is None:
            raise ResultsError(f"not every episode has a verdict under the rule {rule!r}: it was played under `first`")
        if result.key.start in found:
            raise ResultsError(
                f"episode {result.key.start} occurs twice, at different latencies or from different code: choose one "
                "with --latency-ms"
            )
        found[result.key.start] = verdict
    if not found:
        raise ResultsError("there is no finished episode to compare")
    return found


def _comparison(label: str, mine: dict[_Start, bool], theirs: dict[_Start, bool], tasks: Sequence[tuple]) -> Comparison:
    first = {start: verdict for start, verdict in mine.items() if start[:2] in tasks}
    second = {start: verdict for start, verdict in theirs.items() if start[:2] in tasks}
    shared = first.keys() & second.keys()
    paired = None
    if shared:
        both = sum(first[s] and second[s] for s in shared)
        only_first = sum(first[s] and not second[s] for s in shared)
        only_second = sum(second[s] and not first[s] for s in shared)
        paired = PairedOutcomes(both, only_first, only_second, len(shared) - both - only_first - only_second)
    return Comparison(label, Rate(sum(first.values()), len(first)), Rate(sum(second.values()), len(second)), paired)
