"""Success against latency, and how smoothly the arm was commanded, out of runs of `magma-eval run --clock realtime`.

    python tests/benchmarks/latency_curves.py --picture latency.png "uncompensated=runs/none" "compensated=runs/all"

Prints a table per folder, a row per task and latency: successes with Wilson's 95 % interval, direction reversals per
episode (of two commands of more than 1 mm that follow each other the second leads more than 90° away from the first),
and the root mean square of the commanded target's jerk (second difference of the mean velocities of steps). Draws the
successes of all tasks together.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from magma_eval.confidence_intervals import Rate
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.run_folder import RunFolder

PERIOD_S = 0.2
MOVES_M = 1e-3


@dataclass(frozen=True)
class Played:
    """One episode."""

    success: bool
    reversals: int
    jerk_m_s3: float


def reversals(steps: NDArray[np.float64]) -> int:
    """Of commanded translations (n, 3)."""
    moving = steps[np.linalg.norm(steps, axis=1) > MOVES_M]
    return int(np.count_nonzero(np.sum(moving[1:] * moving[:-1], axis=1) < 0.0))


def jerk(steps: NDArray[np.float64]) -> float:
    """Root mean square, m/s^3, of translations (n, 3), one per step; zero where nothing was commanded."""
    return float(np.sqrt(np.mean(np.sum(np.diff(steps / PERIOD_S, n=2, axis=0) ** 2, axis=1)))) / PERIOD_S**2


def read(folder: Path) -> dict[tuple[str, float], list[Played]]:
    """The episodes of a run by task and latency in ms."""
    episodes: dict[tuple[str, float], list[Played]] = defaultdict(list)
    for result in RunFolder.read(folder).results:
        if result.success is None or result.success.last is None or result.latency_ms is None:
            continue
        record = EpisodeRecord.read(folder / result.record)
        steps = np.where(record.commanded[:, None], record.actions[:, :3], 0.0)
        played = Played(bool(result.success.last), reversals(steps), jerk(steps))
        episodes[result.key.task, result.latency_ms].append(played)
    return episodes


def row(name: str, latency_ms: float, episodes: list[Played]) -> str:
    """Of the table."""
    rate = Rate(sum(episode.success for episode in episodes), len(episodes))
    low, high = rate.interval
    turns = np.mean([episode.reversals for episode in episodes])
    jerks = np.mean([episode.jerk_m_s3 for episode in episodes])
    counted = f"{rate.successes}/{rate.count} [{100 * low:.0f}, {100 * high:.0f}] %"
    return f"{name:22s} {latency_ms:5g} ms  {counted:20s} {turns:5.1f} reversals  {jerks:5.2f} m/s^3"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", nargs="+", help="label=folder of a run")
    parser.add_argument("--picture", type=Path, help="where to draw the curves")
    options = parser.parse_args()
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(7.0, 3.4), layout="constrained")
    for number, curve in enumerate(options.curves):
        label, _, folder = curve.partition("=")
        episodes = read(Path(folder))
        print(f"\n{label}")
        together: dict[float, list[Played]] = defaultdict(list)
        for (task, latency_ms), played in sorted(episodes.items()):
            print(row(task, latency_ms, played))
            together[latency_ms] += played
        points = []
        for latency_ms, played in sorted(together.items()):
            print(row("all", latency_ms, played))
            rate = Rate(sum(episode.success for episode in played), len(played))
            points.append((latency_ms + 4.0 * number, rate.value, *rate.interval))
        at, value, low, high = np.array(points).T
        bars = np.abs(np.stack([value - low, high - value]))
        axes.errorbar(at, 100 * value, 100 * bars, label=label, marker="o", markersize=4, capsize=3)
    axes.set(xlabel="latency of an answer, ms", ylabel="success, %", ylim=(-3, 103))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    if options.picture is not None:
        figure.savefig(options.picture, dpi=130)


if __name__ == "__main__":
    main()
