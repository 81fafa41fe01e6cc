"""Success rates that others have published, to stand beside one's own."""

from __future__ import annotations

import json
from dataclasses import dataclass

from magma_eval.benchmarks import benchmarks
from magma_eval.suites import SUITES


@dataclass(frozen=True)
class PublishedRate:
    """One figure of one source. Facts only: what was measured, how many episodes, where it stands."""

    model: str
    suite: str
    """as the source has it: the name of a suite, or of one whose rates a suite says are its own too"""
    task: str
    """a task of the suite, or "mean" """
    rate: float
    """in [0, 1]"""
    source: str
    episodes: int | None = None
    """None: the source does not say"""
    note: str = ""
    protocol: str = ""
    """how the source measured: simulator, episodes, what counts as success; as far as it says"""

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate <= 1.0:
            raise ValueError(f"a rate lies in [0, 1], got {self.rate} for {self.model}, {self.task}")
        if not (self.model and self.suite and self.task and self.source):
            raise ValueError(f"a published rate has a model, a suite, a task and a source: {self}")


def published_rates(suite: str = "", *, related: bool = False) -> list[PublishedRate]:
    """The rates of a suite, or all, from the files of the installed benchmarks; `related`: those over several suites
    too, of which it is one."""
    rates = []
    for benchmark in benchmarks():
        if benchmark.published is None:
            continue
        content = json.loads(benchmark.published.read_text(encoding="utf-8"))
        sources, protocols = content["sources"], content["protocols"]
        for row in content["rates"]:
            known = {"source": sources[row["source"]], "protocol": protocols[row["suite"]]}
            rates.append(PublishedRate(**{**row, **known}))
    own = SUITES[suite].published_as if suite in SUITES else ""
    name = own or suite
    over_several = tuple(rate.suite for rate in rates if related and name.startswith(f"{rate.suite}-"))
    return [rate for rate in rates if not suite or rate.suite in (name, *over_several)]
