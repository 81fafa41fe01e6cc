"""A report's rates as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magma_eval.report.comparison import contests, numbers_of
from magma_eval.results.episode_result import SUCCESS_RULES, SuccessRule
from magma_eval.results.run_folder import RunFolder
from magma_eval.summary import Row, summarise


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
        "contests": [numbers_of(contest) for contest in contests(runs, rule)],
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
