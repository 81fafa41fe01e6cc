"""How a run goes, for people who watch it in a terminal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from magma_eval.confidence_intervals import Rate
from magma_eval.results.episode_result import EpisodeResult, SuccessRule

WAITING = {
    "starting": "starting the simulator",
    "making the environment": "building the world",
    "asking for the policy": "connecting to the policy",
}
"""What a worker does before its first step, in words for people."""


def say(text: str) -> None:
    """A line above the progress bar."""
    tqdm.write(text, file=sys.stderr)


class Progress:
    """The progress bar; a context manager.

    Args:
        total: episodes of the run.
        there: results that it had already.
        rule: that decides about successes.
    """

    def __init__(self, total: int, there: Iterable[EpisodeResult], rule: SuccessRule) -> None:
        self._rule = rule
        self._verdicts: Counter[bool] = Counter()
        self._errors = 0
        self._doing = ""
        count = 0
        for result in there:
            count += 1
            self._count(result)
        self._bar: Any = tqdm(total=total, initial=count, unit="episode", file=sys.stderr, mininterval=1.0)
        self._begun = False

    def waiting(self, doing: Iterable[str]) -> None:
        """Until the first episode has ended: what the workers are doing, while the bar shows the time that passes."""
        if self._begun:
            return
        text = " and ".join(sorted({WAITING.get(what, "first episodes") for what in doing}))
        if text != self._doing:
            self._doing = text
            self._bar.set_description_str(text)
        elif sys.stderr.isatty():
            self._bar.refresh()

    def advance(self, result: EpisodeResult) -> None:
        """An episode has ended."""
        self._begun = True
        self._count(result)
        self._errors += result.success is None
        self._bar.set_description_str("", refresh=False)
        count = self._verdicts.total()
        if count:
            self._bar.set_postfix_str(f"{Rate(self._verdicts[True], count)}, {self._errors} errors", refresh=False)
        self._bar.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _count(self, result: EpisodeResult) -> None:
        if result.success is not None:
            self._verdicts[bool(result.success.under(self._rule))] += 1
