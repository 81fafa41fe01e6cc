"""Episodes per hour of `magma-eval run`, with one and with two workers, in turns.

    python tests/benchmarks/evaluation.py --policy expert
    python tests/benchmarks/evaluation.py --policy magma:policy/checkpoints/magma-tiny --episodes 6

The time runs from the start of the command to its end, so it includes starting processes, building environments and
loading the policy; a second figure leaves that out: from the first finished episode to the last. Each pair plays the
same episodes, and their results must be equal.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from magma_eval.episodes import canonical_json
from magma_eval.results.run_folder import load


@dataclass(frozen=True)
class Config:
    """What to time."""

    policy: str = "expert"
    suite: str = "tabletop"
    tasks: tuple[str, ...] = ("carrot_on_plate",)
    episodes: int = 12
    """per task"""
    workers: tuple[int, ...] = (1, 2)
    repeats: int = 2
    """pairs"""


def timed(config: Config, workers: int, out: Path) -> tuple[float, float]:
    """Seconds of the whole command, and of the part after the first finished episode (scaled to all episodes)."""
    command = [sys.executable, "-m", "magma_eval.command", "run", "--policy", config.policy]
    command += ["--suite", config.suite, "--tasks", *config.tasks, "--limit", str(config.episodes)]
    begin = time.monotonic()
    process = subprocess.Popen([*command, "--workers", str(workers), "--out", str(out)], stderr=subprocess.DEVNULL)
    results = out / "results.jsonl"
    first = 0.0
    while process.poll() is None:
        if not first and results.exists() and results.stat().st_size:
            first = time.monotonic()
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"the run ended with status {process.returncode}; see {out}/logs")
    end = time.monotonic()
    count = len(load(out).results)
    return end - begin, (end - first) * count / max(1, count - 1)


def main(config: Config) -> None:
    """Times it and prints the rates."""
    folder = Path(tempfile.mkdtemp(prefix="evaluation-speed-"))
    seconds: dict[int, list[tuple[float, float]]] = {workers: [] for workers in config.workers}
    outcomes = set()
    count = 0
    for repeat in range(config.repeats):
        for workers in config.workers:
            out = folder / f"{workers}-{repeat}"
            seconds[workers].append(timed(config, workers, out))
            results = load(out).results
            count = len(results)
            outcomes.add(canonical_json([result.outcome() for result in results]))
    print(f"{config.policy}, {config.suite}: {', '.join(config.tasks)}; {count} episodes, {config.repeats} times")
    for workers, pairs in seconds.items():
        whole, steady = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{workers} workers: {3600 * count / whole:7.0f} episodes/h with start-up ({whole:.1f} s), "
            f"{3600 * count / steady:7.0f} without"
        )
    print("results of all runs are equal" if len(outcomes) == 1 else "RESULTS DIFFER between runs")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
