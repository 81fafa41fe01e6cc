"""Which code played an episode."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

from magma_eval.benchmarks import Benchmark, benchmark_of
from magma_eval.episodes import Episode

_ROOT = Path(__file__).parent
_PRESENTATION = ("command.py", "compare.py", "confidence_intervals.py", "summary.py", "videos.py", "results/merge.py")
"""files of this package, beside those in report/, that have no say in how an episode goes"""


def code_version(episodes: Iterable[Episode]) -> str:
    """The evaluator's version and a hash of all sources that decide how these episodes go, such as 0.2.0+1a2b3c4d."""
    return _code_version(_benchmarks(episodes))


def versions(episodes: Iterable[Episode]) -> dict[str, str]:
    """Versions of what else may change a result."""
    names = [name for benchmark in _benchmarks(episodes) for name in benchmark.distributions]
    found = {}
    for name in (*names, "numpy", "opencv-python", "magma-policy-client"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _benchmarks(episodes: Iterable[Episode]) -> tuple[Benchmark, ...]:
    """Those that make the episodes' tasks."""
    tasks = dict.fromkeys(episode.make for episode in episodes)
    found = {id(benchmark): benchmark for task in tasks if (benchmark := benchmark_of(task)) is not None}
    return tuple(found.values())


@functools.cache
def _file_digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _code_version(benchmarks: Iterable[Benchmark]) -> str:
    digest = hashlib.sha256()
    for root in (_ROOT, *(source for benchmark in benchmarks for source in benchmark.sources)):
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if root == _ROOT and (name in _PRESENTATION or name.startswith("report/")):
                continue
            digest.update(f"{root.name}/{name}".encode())
            digest.update(_file_digest(path))
    return f"{importlib.metadata.version('magma-eval')}+{digest.hexdigest()[:8]}"
