"""Learning from corrections (DAgger): rounds of an operator who corrects the policy, and the success after each.

    magma-demos --out few --episodes 12
    magma-train --demonstrations few --output start --steps 500 --precision bfloat16
    python tests/benchmarks/corrections.py --demonstrations few --start start/checkpoint --out DIR

Everything goes the way that it does in a lab: the policy acts through the robot graph, the scripted operator takes the
arm when the policy errs, the recorder writes, `magma-export` makes demonstrations of the operator's steps,
`magma-train --init` finetunes on them beside the old demonstrations, and `magma-eval` plays the evaluation layouts,
which no correction was made on. A control is finetuned for as many steps without the corrections. Finished parts are
kept: give the same command again to go on. Writes DIR/results.json and DIR/table.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import yaml

from magma_eval.confidence_intervals import Rate
from magma_eval.results.run_folder import load
from magma_sim.registry import skill_of

TASKS = ("carrot_on_plate", "spoon_on_towel", "stack_blocks", "eggplant_in_basket")
FIRST_LAYOUT = 200_000
"""Random layouts from here on: demonstrations begin at 0 or 100 000, validation at 900 000 000."""


@dataclass(frozen=True)
class Config:
    """What to do."""

    demonstrations: tuple[Path, ...]
    """what the first policy was trained on"""
    start: Path
    """its checkpoint"""
    out: Path
    rounds: int = 2
    episodes: int = 40
    """episodes of each task that an operator watches in each round"""
    steps: int = 300
    """optimiser steps of each round"""
    learning_rate: float = 1.5e-3
    operator_weight: float = 2.0
    """what an operator's step counts beside one of the demonstrations"""
    robot: str = "panda"
    limit: int = 12
    """evaluation layouts of each task"""
    workers: int = 1
    precision: str = "bfloat16"
    seed: int = 0


def call(log: Path, module: str, *arguments: str) -> None:
    """Runs a module of this stack as its command."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        command = [sys.executable, "-m", module, *arguments]
        if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode:
            raise SystemExit(f"{module} failed; see {log}")


def mark_objects(config: Config, path: Path) -> None:
    """Writes which frames the simulator's objects are, as somebody with fiducials on them would."""
    instructions = json.loads((config.demonstrations[0] / "card.json").read_text(encoding="utf-8"))["instructions"]
    points: dict[str, Any] = {}
    for task in TASKS:
        skill = skill_of(task)
        points[instructions[task]] = {
            "source_centre": {"frame": skill.source},
            "target_rest_point": {"frame": skill.target, "at": [0.0, 0.0, float(skill.target_top)]},
        }
        if skill.tip is not None:
            points[instructions[task]]["source_tip"] = {"frame": skill.source, "at": [float(v) for v in skill.tip]}
    path.write_text(yaml.safe_dump(points), encoding="utf-8")


def collect(config: Config, policy: Path, number: int) -> Path:
    """Plays episodes with policy and operator, and exports what the operator did; returns the new demonstration set."""
    folder = config.out / f"round-{number}"
    corrections = folder / "corrections"
    if corrections.is_dir():
        return corrections
    nodes = folder / "nodes.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    # The world stands until the policy has the arm back and sees it anew: it need not stand for long.
    nodes.write_text("simulator:\n  ros__parameters:\n    republish_s: 0.4\n", encoding="utf-8")
    recordings = []
    for task in TASKS:
        played = folder / task
        if not (played / "done").is_file():
            call(
                folder / f"{task}.log", "magma_bringup.demo",
                *("--task", task, "--variant", "random", "--episodes", str(config.episodes)),
                *("--first-layout", str(FIRST_LAYOUT + number * config.episodes), "--policy", str(policy)),
                *("--teleop", "scripted", "--record", str(played / "recording"), "--out", str(played / "results")),
                *("--hold", "3", "--no-videos", "--config", str(nodes)),
            )  # fmt: skip
            (played / "done").touch()
        recordings += sorted(str(path) for path in (played / "recording").iterdir())
    mark_objects(config, folder / "points.yaml")
    call(
        folder / "export.log", "magma_recorder.export_command", *recordings, "--out", str(corrections),
        *("--robot", config.robot, "--operator-weight", str(config.operator_weight)),
        *("--marked-points", str(folder / "points.yaml")),
    )  # fmt: skip
    return corrections


def finetune(config: Config, policy: Path, sets: list[Path], output: Path, seed: int) -> Path:
    """Finetunes the policy on the sets; returns its checkpoint. Does nothing when that is done."""
    call(
        output.with_suffix(".log"), "magma_policy.commands.train",
        *("--init", str(policy), "--statistics", "init", "--output", str(output), "--steps", str(config.steps)),
        *("--learning-rate", str(config.learning_rate), "--marks-fraction", "0", "--precision", config.precision),
        *("--seed", str(seed), "--threads", "1", "--validation-steps", str(config.steps)),
        *("--checkpoint-steps", str(config.steps), "--demonstrations", *(str(path.resolve()) for path in sets)),
    )  # fmt: skip
    return output / "checkpoint"


def evaluate(config: Config, policy: Path, out: Path) -> Rate:
    """Success on the evaluation layouts; plays what is missing."""
    call(
        out.with_suffix(".log"), "magma_eval.command", "run", "--suite", "tabletop",
        *("--policy", f"magma:{policy}", "--limit", str(config.limit), "--workers", str(config.workers)),
        *("--policy-name", out.name, "--training-label", "in-domain simulation", "--out", str(out)),
    )  # fmt: skip
    verdicts = [result.success for result in load(out).results]
    if None in verdicts:
        raise SystemExit(f"{out}: an episode could not be played; give the command again with --retry-errors")
    return Rate(sum(bool(verdict.last) for verdict in verdicts if verdict is not None), len(verdicts))


def watched(config: Config, number: int) -> dict[str, int]:
    """What the operator did in a round."""
    card = json.loads((config.out / f"round-{number}" / "corrections" / "card.json").read_text(encoding="utf-8"))
    return {"operator_steps": int(card["counts"]["operator_steps"]), "corrected": int(card["counts"]["episodes"])}


def table(config: Config, rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| after round | operator's steps | corrected episodes | with corrections | control, without |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        told = [str(row[name]) for name in ("operator_steps", "corrected")] if row["round"] else ["", ""]
        corrected = f"{row['corrected']} of {config.episodes * len(TASKS)}" if row["round"] else ""
        lines.append(f"| {row['round']} | {told[0]} | {corrected} | {row['success']} | {row['control']} |")
    return "\n".join(lines) + "\n"


def main(config: Config) -> None:
    """Plays all rounds."""
    config.out.mkdir(parents=True, exist_ok=True)
    first = evaluate(config, config.start, config.out / "evaluation-0")
    rows: list[dict[str, Any]] = [{"round": 0, "success": str(first), "control": str(first)}]
    policy = control = config.start.resolve()
    sets = list(config.demonstrations)
    for number in range(1, config.rounds + 1):
        sets.append(collect(config, policy, number))
        seed = config.seed + number
        policy = finetune(config, policy, sets, config.out / f"round-{number}" / "run", seed).resolve()
        control = finetune(
            config, control, list(config.demonstrations), config.out / f"control-{number}", seed
        ).resolve()
        rows.append(
            {
                "round": number,
                **watched(config, number),
                "success": str(evaluate(config, policy, config.out / f"evaluation-{number}")),
                "control": str(evaluate(config, control, config.out / f"evaluation-control-{number}")),
            }
        )
        print(rows[-1], flush=True)
    (config.out / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (config.out / "table.md").write_text(table(config, rows), encoding="utf-8")
    print(table(config, rows))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
