"""Where the time of each step goes, from what the nodes say and when their messages were sent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

PENDING_KEPT = 64
TOTAL = "capture → command"
WITHOUT_MODEL = "… without the policy"
PERIOD = "step to step"

_BEFORE_POLICY = {"frame": "capture → frame at the policy", "wait": "frame waits for the policy"}


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds: median and 95th percentile of `count` values."""

    p50: float
    p95: float
    count: int


class StepTimes:
    """Collects by the capture stamp that chunk and command carry. Times in nanoseconds of one clock."""

    def __init__(self) -> None:
        self._stages: OrderedDict[int, Mapping[str, float]] = OrderedDict()
        self._values: dict[str, list[float]] = {}
        self._last_step_ns: int | None = None

    def chunk(self, stamp_ns: int, stages_ms: Mapping[str, float]) -> None:
        """A policy acted on the frame of this stamp and said how long its stages took."""
        self._stages[stamp_ns] = dict(stages_ms)
        while len(self._stages) > PENDING_KEPT:
            self._stages.popitem(last=False)

    def command(self, stamp_ns: int, sent_ns: int) -> None:
        """A command for the frame of this stamp was sent. The operator's commands and further steps of a chunk have
        no stages of their own and are left out."""
        stages = self._stages.pop(stamp_ns, None)
        if stages is None:
            return
        total_ms = (sent_ns - stamp_ns) * 1e-6
        policy_ms = stages.get("policy", 0.0)
        known_ms = policy_ms + sum(stages.get(name, 0.0) for name in _BEFORE_POLICY)
        for name, title in _BEFORE_POLICY.items():
            self._add(title, stages.get(name, 0.0))
        self._add("policy", policy_ms)
        for name, value in stages.items():
            if name != "policy" and name not in _BEFORE_POLICY:
                self._add(f"  {name}", value)
        self._add("policy → command", total_ms - known_ms)
        self._add(TOTAL, total_ms)
        self._add(WITHOUT_MODEL, total_ms - policy_ms)

    def step(self, stamp_ns: int) -> None:
        """The world took a step and showed it under this stamp."""
        if self._last_step_ns is not None:
            self._add(PERIOD, (stamp_ns - self._last_step_ns) * 1e-6)
        self._last_step_ns = stamp_ns

    def pause(self) -> None:
        """An episode ended: the time to the next step is not a step's."""
        self._last_step_ns = None
        self._stages.clear()

    def table(self) -> dict[str, Percentiles]:
        """Percentiles by stage, in the order in which the time passes."""
        order = [*_BEFORE_POLICY.values(), "policy"]
        order += [name for name in self._values if name.startswith("  ")]
        order += ["policy → command", TOTAL, WITHOUT_MODEL, PERIOD]
        result = {}
        for name in order:
            values = self._values.get(name)
            if values:
                p50, p95 = np.percentile(values, [50, 95])
                result[name] = Percentiles(float(p50), float(p95), len(values))
        return result

    def values(self, name: str) -> tuple[float, ...]:
        """Milliseconds of one row of `table`, in order."""
        return tuple(self._values.get(name, ()))

    def _add(self, name: str, value_ms: float) -> None:
        self._values.setdefault(name, []).append(value_ms)
