"""What a policy server counts, in Prometheus' text format."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from magma_policy.serving.batching import BatchRun

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
OUTCOMES = ("ok", "malformed", "observation", "late", "overloaded", "internal", "stopping", "gone")


class Metrics:
    """Counters of one server; safe to use from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        registry = self._registry
        self.watch("magma_memory_peak_bytes", "Largest resident memory of the process.", _peak_bytes)
        self._requests = Counter("magma_requests", "Requests by outcome.", ["outcome"], registry=registry)
        for outcome in OUTCOMES:
            self._requests.labels(outcome)
        self._refused = Counter("magma_connections_refused", "Connections turned away.", ["reason"], registry=registry)
        for reason in ("token", "full", "version"):
            self._refused.labels(reason)
        self._batch = Histogram(
            "magma_batch_size", "Requests answered together.", registry=registry, buckets=(1, 2, 4, 8, 16, 32, 64)
        )
        self._inference = Histogram(
            "magma_inference_seconds", "One call of the model.", registry=registry, buckets=SECONDS
        )
        self._queue = Histogram("magma_queue_seconds", "Time in the queue.", registry=registry, buckets=SECONDS)
        self._stage = Histogram(
            "magma_stage_seconds", "The policy's own stages.", ["stage"], registry=registry, buckets=SECONDS
        )

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """A number that is read when somebody asks."""
        gauge = Gauge(name, description, registry=self._registry)
        gauge.set_function(value)

    def request(self, outcome: str) -> None:
        """A request ended."""
        self._requests.labels(outcome).inc()

    def refused(self, reason: str) -> None:
        """A connection was turned away."""
        self._refused.labels(reason).inc()

    def batch(self, run: BatchRun) -> None:
        """The model was called."""
        self._batch.observe(run.size)
        self._inference.observe(run.seconds)

    def answered(self, queue_ms: float, stage_ms: Mapping[str, float]) -> None:
        """An action was made."""
        self._queue.observe(queue_ms * 1e-3)
        for name, value in stage_ms.items():
            self._stage.labels(name).observe(value * 1e-3)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)


def _peak_bytes() -> float:
    # Linux counts in KiB.
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
