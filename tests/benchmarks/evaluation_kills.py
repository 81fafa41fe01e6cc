"""Kills evaluator and workers of a real run at random moments, and compares what comes out with an undisturbed run.

    python tests/benchmarks/evaluation_kills.py --kills 50

Plays the scripted expert on the built-in suite without rendering, so it needs no Vulkan device. Each round starts or
continues `magma-eval run`, waits a random time, and kills -9 either the evaluator, or one of its workers (which it must
survive), or both. At last the run is finished undisturbed. Exit status 0: all lines are there once, and equal.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tyro

from magma_eval.episodes import canonical_json
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.run_folder import load, read_lines


@dataclass(frozen=True)
class Config:
    """What to do."""

    kills: int = 50
    workers: int = 2
    limit: int = 24
    """layouts of each of the four tasks"""
    seed: int = 0
    """of the moments and victims"""
    longest_s: float = 9.0
    """longest time before a kill"""


def command(out: Path, config: Config) -> list[str]:
    """The run."""
    return [
        *(sys.executable, "-m", "magma_eval.command", "run", "--policy", "expert", "--suite", "tabletop"),
        *("--limit", str(config.limit), "--workers", str(config.workers), "--out", str(out)),
    ]


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Process ids of the evaluator's workers."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        return [int(number) for number in path.read_text().split()]
    except OSError:
        return []


def outcomes(folder: Path) -> list[str]:
    """What must be equal."""
    return [canonical_json(result.outcome()) for result in load(folder).results]


def main(config: Config) -> int:
    """Runs it all; returns the exit status."""
    folder = Path(tempfile.mkdtemp(prefix="evaluation-kills-"))
    dice = random.Random(config.seed)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    begin = time.monotonic()
    subprocess.run(command(folder / "undisturbed", config), check=True, **quiet)
    print(f"undisturbed run: {len(outcomes(folder / 'undisturbed'))} episodes in {time.monotonic() - begin:.0f} s")
    disturbed = folder / "disturbed"
    results = disturbed / "results.jsonl"
    kills: Counter[str] = Counter()
    finished: list[bytes] = []
    lost = rounds = 0
    process: subprocess.Popen[bytes] | None = None
    while sum(kills.values()) < config.kills:
        if process is None or process.poll() is not None:
            if process is not None and process.returncode > 0:
                sys.exit(f"the evaluator ended with status {process.returncode}; see {disturbed}/logs")
            if process is not None and process.returncode == 0:
                # Everything was played before all kills were made: begin again, keeping the counts.
                rounds += 1
                disturbed = folder / f"disturbed-{rounds}"
                results, finished = disturbed / "results.jsonl", []
            process = subprocess.Popen(command(disturbed, config), **quiet)
        time.sleep(dice.uniform(0.1, config.longest_s))
        if process.poll() is not None:
            continue
        victim = dice.choice(["evaluator", "worker", "worker and evaluator"])
        if "worker" in victim:
            alive = workers_of(process)
            if not alive:
                continue
            os.kill(dice.choice(alive), signal.SIGKILL)
            time.sleep(dice.uniform(0.0, 0.3))
        if "evaluator" in victim:
            process.kill()
            process.wait()
        kills[victim] += 1
        if results.exists():
            now = [line for line in results.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
            lost += now[: len(finished)] != finished
            finished = now
    if process is not None:
        process.wait()
    folders = [folder / "disturbed", *(folder / f"disturbed-{number}" for number in range(1, rounds + 1))]
    expected = outcomes(folder / "undisturbed")
    wrong = 0
    for path in folders:
        subprocess.run(command(path, config), check=True, **quiet)
        lines = sum(1 for _ in read_lines(path / "results.jsonl"))
        same = outcomes(path) == expected and lines == len(expected)
        for result in load(path).results:
            record = EpisodeRecord.read(path / result.record)
            original = EpisodeRecord.read(folder / "undisturbed" / result.record)
            same = same and record.actions.tobytes() == original.actions.tobytes()
        wrong += not same
    print(f"kills: {dict(kills)}, together {sum(kills.values())}, over {len(folders)} runs of {len(expected)} episodes")
    print(f"finished lines lost or changed after a kill: {lost}; runs that differ from the undisturbed one: {wrong}")
    print(f"{time.monotonic() - begin:.0f} s; files in {folder}")
    return 1 if lost or wrong else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, description=__doc__)))
