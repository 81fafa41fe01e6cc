"""Success rates that others have published, to stand beside one's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("published.json")


@dataclass(frozen=True)
class PublishedRate:
    """One figure of one source. Facts only: what was measured, how many episodes, where it stands."""

    model: str
    suite: str
    """a suite of ours, or "simpler-google" for means over both Google protocols"""
    task: str
    """a task of the suite, or "mean" """
    rate: float
    """in [0, 1]"""
    source: str
    episodes: int | None = None
    """None: the source does not say"""
    note: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate <= 1.0:
            raise ValueError(f"a rate lies in [0, 1], got {self.rate} for {self.model}, {self.task}")
        if not (self.model and self.suite and self.task and self.source):
            raise ValueError(f"a published rate has a model, a suite, a task and a source: {self}")


def published_rates(suite: str = "") -> list[PublishedRate]:
    """The rates of a suite, or all."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    sources = content["sources"]
    rates = [PublishedRate(**{**row, "source": sources[row["source"]]}) for row in content["rates"]]
    # The four Bridge tasks are the same on both simulators, and so are the names.
    same = {"simpler-bridge": "simpler-widowx"}.get(suite, suite)
    return [rate for rate in rates if not suite or rate.suite == same]
