"""Which code played an episode."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

from magma_eval.benchmarks import Benchmark, benchmark_of
from magma_eval.episodes import Episode
from magma_policy_client.content import digest_of, file_digests

_ROOT = Path(__file__).parent
_PRESENTATION = ("command.py", "compare.py", "confidence_intervals.py", "summary.py", "videos.py", "results/merge.py")
"""files of this package, beside those in report/, that have no say in how an episode goes"""


def code_version(episodes: Iterable[Episode]) -> str:
    """The evaluator's version and a hash of all sources that decide how these episodes go, such as 0.2.0+1a2b3c4d."""
    return code_version_of(episode.make for episode in episodes)


def code_version_of(tasks: Iterable[str]) -> str:
    """The same of tasks by their names, as `magma_eval.benchmarks.make_task` knows them."""
    return _code_version(benchmarks_of(tasks))


def versions(episodes: Iterable[Episode]) -> dict[str, str]:
    """Versions of what else may change a result."""
    return versions_of(episode.make for episode in episodes)


def versions_of(tasks: Iterable[str]) -> dict[str, str]:
    """The same of tasks by their names."""
    names = [name for benchmark in benchmarks_of(tasks) for name in benchmark.distributions]
    found = {}
    for name in (*names, "numpy", "opencv-python", "magma-policy-client"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def benchmarks_of(tasks: Iterable[str]) -> tuple[Benchmark, ...]:
    """Those that make the tasks."""
    every = dict.fromkeys(tasks)
    found = {id(benchmark): benchmark for task in every if (benchmark := benchmark_of(task)) is not None}
    return tuple(found.values())


@functools.cache
def file_digest(path: Path) -> bytes:
    """The SHA-256 of a file's content, read once."""
    return hashlib.sha256(path.read_bytes()).digest()


def folders_digest(folders: Iterable[Path]) -> str:
    """One digest of every file in some folders, by what is in them; .git and compiled Python are left out."""
    found = {}
    for number, folder in enumerate(folders):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not {".git", "__pycache__"}.intersection(path.parts):
                found[path] = f"{number}/{path.relative_to(folder).as_posix()}"
    digests = file_digests(found)
    return digest_of({name: digests[path] for path, name in found.items()})[:12]


def _code_version(benchmarks: Iterable[Benchmark]) -> str:
    digest = hashlib.sha256()
    for root in (_ROOT, *(source for benchmark in benchmarks for source in benchmark.sources)):
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if root == _ROOT and (name in _PRESENTATION or name.startswith("report/")):
                continue
            digest.update(f"{root.name}/{name}".encode())
            digest.update(file_digest(path))
    return f"{importlib.metadata.version('magma-eval')}+{digest.hexdigest()[:8]}"
