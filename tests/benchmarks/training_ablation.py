"""What marks, traces and questions are worth: the same training with more and more of them, and its success.

    magma-demos --out tabletop --episodes 150
    magma-demos --out tabletop-states --episodes 200 --no-images --seed 100000
    python tests/benchmarks/training_ablation.py --demonstrations tabletop tabletop-states --out DIR

After Table 3 of the Magma paper, at the size of magma-tiny. Every arm gets the same CPU time: `--minutes` of one core,
turned into optimiser steps by what a step costs here, which is measured first, with marks and without (the arms with
marks do the same work on different samples). Each arm is trained once for each seed and plays the suite's evaluation
layouts. Finished parts are kept: give the same command again to go on, or one with other `--arms` or `--seeds` beside
it. Writes DIR/results.json and DIR/table.md.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from safetensors import safe_open

from magma_eval.confidence_intervals import Rate
from magma_eval.results.run_folder import load
from magma_policy.training.loop.saved_run import FILE, SCALARS

NO_TEXT = ("--text-batch", "0")
ARMS = {
    "actions": ("--no-grounding", "--geometry", "none", "--marks-fraction", "0", "--state-batch", "0", *NO_TEXT),
    "som_without_geometry": ("--geometry", "none", "--text.traces", "0", "--text.questions", "0"),
    "som": ("--text.traces", "0", "--text.questions", "0"),
    "som_tom": ("--text.questions", "0"),
    "som_tom_questions": (),
}
"""Arguments of magma-train. Marks mean the mark tokens, the samples of marks alone and the marks told in text."""
WORDS = {
    "actions": "actions only",
    "som_without_geometry": "+ marks (SoM), no calibrated camera",
    "som": "+ marks (SoM), calibrated camera",
    "som_tom": "+ marks + traces (ToM), calibrated camera",
    "som_tom_questions": "+ marks + traces + questions, calibrated camera",
}
PROBE_STEPS = 16
"""Steps timed to learn what one costs; as many more are not timed."""


@dataclass(frozen=True)
class Config:
    """What to do."""

    demonstrations: tuple[Path, ...]
    """sets of the suite's robot"""
    out: Path
    minutes: float = 6.0
    """CPU time of each training"""
    arms: tuple[str, ...] = tuple(ARMS)
    seeds: tuple[int, ...] = (0, 1, 2)
    suite: str = "tabletop"
    limit: int = 8
    """evaluation layouts of each task"""
    workers: int = 1
    precision: str = "bfloat16"


def train(config: Config, arm: str, seed: int, steps: int, output: Path) -> float:
    """Runs magma-train; returns the CPU seconds that it took."""
    command = [
        *(sys.executable, "-m", "magma_policy.commands.train", "--output", str(output), "--steps", str(steps)),
        *("--seed", str(seed), "--precision", config.precision, "--threads", "1"),
        *("--validation-steps", str(steps), "--checkpoint-steps", str(steps)),
        *("--demonstrations", *(str(path.resolve()) for path in config.demonstrations), *ARMS[arm]),
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with output.with_suffix(".log").open("w", encoding="utf-8") as log:
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode:
            raise SystemExit(f"magma-train failed; see {log.name}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def steps_of(config: Config, arm: str) -> int:
    """Optimiser steps that the arm gets; what a step costs is measured once and kept."""
    path = config.out / ("cost-actions.json" if arm == "actions" else "cost-marks.json")
    if not path.is_file():
        spent = [
            train(config, arm, 0, steps, config.out / "probe" / f"{arm}-{steps}")
            for steps in (PROBE_STEPS, 2 * PROBE_STEPS)
        ]
        path.write_text(json.dumps({"cpu_s": (spent[1] - spent[0]) / PROBE_STEPS}) + "\n", encoding="utf-8")
    return round(config.minutes * 60 / float(json.loads(path.read_text(encoding="utf-8"))["cpu_s"]))


def evaluate(config: Config, checkpoint: Path, out: Path) -> dict[str, list[int]]:
    """Plays the suite; successes and episodes by task."""
    command = [
        *(sys.executable, "-m", "magma_eval.command", "run", "--suite", config.suite),
        *("--policy", f"magma:{checkpoint}", "--limit", str(config.limit), "--workers", str(config.workers)),
        *("--policy-name", out.parent.name, "--training-label", "in-domain simulation", "--out", str(out)),
    ]
    with out.with_suffix(".log").open("w", encoding="utf-8") as log:
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode:
            raise SystemExit(f"magma-eval failed; see {log.name}")
    found: dict[str, list[int]] = {}
    for result in load(out).results:
        if result.success is None:
            raise SystemExit(f"{out}: an episode could not be played: {result.error}")
        counts = found.setdefault(result.episode.task, [0, 0])
        counts[0] += int(bool(result.success.last))
        counts[1] += 1
    return found


def errors_of(output: Path) -> dict[str, Any]:
    """The run's last errors on held-out demonstrations."""
    with safe_open(str(output / "training" / FILE), framework="pt") as file:
        history = json.loads(file.metadata()[SCALARS])["history"]
    return dict(history["validation"][-1])


def run(config: Config, arm: str, seed: int) -> None:
    """Trains and evaluates one arm with one seed, unless that is done."""
    folder = config.out / f"{arm}-{seed}"
    path = folder / "result.json"
    if path.is_file():
        return
    steps = steps_of(config, arm)
    cpu_s = train(config, arm, seed, steps, folder / "run")
    tasks = evaluate(config, folder / "run" / "checkpoint", folder / "evaluation")
    result = {
        "arm": arm,
        "seed": seed,
        "steps": steps,
        "cpu_s": round(cpu_s, 1),
        "tasks": tasks,
        "errors": errors_of(folder / "run"),
    }
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{arm}, seed {seed}: {rate_of(result)}", flush=True)


def rate_of(result: dict[str, Any]) -> Rate:
    """Over all tasks."""
    counts = result["tasks"].values()
    return Rate(sum(good for good, _ in counts), sum(number for _, number in counts))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: one row per arm."""
    lines = [
        "| arm | steps | CPU, min | by seed | all, Wilson 95 % | translation, mm | gripper, % | marks, px |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm in ARMS:
        mine = [result for result in results if result["arm"] == arm]
        if not mine:
            continue
        rates = [rate_of(result) for result in mine]
        total = Rate(sum(rate.successes for rate in rates), sum(rate.count for rate in rates))
        errors = [result["errors"] for result in mine]
        cells = [
            WORDS[arm],
            str(mine[0]["steps"]),
            f"{sum(r['cpu_s'] for r in mine) / len(mine) / 60:.1f}",
            ", ".join(str(rate.successes) for rate in rates),
            str(total),
            ", ".join(f"{e['action_mm']:.1f}" for e in errors),
            ", ".join(f"{e['gripper_percent']:.1f}" for e in errors),
            ", ".join("–" if e["mark_px"] is None else f"{sum(e['mark_px']) / len(e['mark_px']):.1f}" for e in errors),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(config: Config) -> None:
    """Plays every arm with every seed, seed by seed, so that an interrupted run compares something."""
    config.out.mkdir(parents=True, exist_ok=True)
    for seed in config.seeds:
        for arm in config.arms:
            run(config, arm, seed)
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(config.out.glob("*/result.json"))]
    (config.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (config.out / "table.md").write_text(table(results), encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
