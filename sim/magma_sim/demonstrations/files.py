"""Demonstrations on disk: a file per episode, and the data card of all of them; see `magma-demos --help`."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.demonstrations import ACTION_ENTRY, CARD, EPISODES, FORMAT_VERSION, MARKS
from magma_eval.policies.choice import PolicyChoice
from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.registry import backend_of
from magma_sim.tasks.interface import TaskSpec
from magma_sim.tasks.object_words import OBJECT_WORDS


def episode_path(out: Path, task: str, seed: int) -> Path:
    """File of one episode."""
    return out / EPISODES / f"{task}-{seed}.npz"


def write_episode(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Writes the file of an episode whole or not at all."""
    partial = path.with_suffix(f".partial-{os.getpid()}")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    partial.replace(path)


def recording_settings(config: DemonstrationConfig) -> dict[str, Any]:
    """The part of the configuration that all episodes of one directory must share."""
    shared = {"images": config.images, "hold_steps": config.hold_steps, "noise": dataclasses.asdict(config.noise)}
    return shared if config.actor is None else {**shared, "actor": PolicyChoice(config.actor).identity()}


def _card(
    config: DemonstrationConfig, specs: dict[str, TaskSpec], rows: dict[str, dict[str, int]], seconds: float
) -> dict[str, Any]:
    spec = specs[config.tasks[0]]
    return {
        "format_version": FORMAT_VERSION,
        "suite": spec.suite,
        "robot": spec.robot,
        "variant": "random",
        **backend_of(config.tasks[0]).layout_streams,
        "tasks": list(config.tasks),
        "instructions": {task: specs[task].instruction for task in config.tasks},
        "episodes_wanted_per_task": config.episodes,
        "first_seed": config.seed,
        "counts": rows,
        "recording": recording_settings(config),
        "action": ACTION_ENTRY,
        "points": list(MARKS),
        "objects": {
            name: OBJECT_WORDS[name]._asdict()
            for name in sorted({name for task in specs.values() for name in task.object_names})
        },
        "step_period_s": spec.step_period_s,
        "frame_rate_hz": 1.0 / spec.step_period_s,
        "max_steps": spec.max_steps,
        "image_size": spec.image_height,
        "camera_intrinsics": spec.camera_intrinsics.tolist(),
        "camera_extrinsics_base_to_optical": spec.camera_extrinsics.tolist(),
        "table_height_m": spec.table_height_m,
        "seconds_of_last_run": round(seconds, 1),
        "versions": {name: importlib.metadata.version(name) for name in ("mani_skill", "sapien", "numpy")}
        | {"python": platform.python_version()},
    }


def write_card(
    config: DemonstrationConfig, specs: dict[str, TaskSpec], rows: dict[str, dict[str, int]], seconds: float
) -> None:
    """Writes the data card anew: counts by task, and the seconds that this run took so far."""
    partial = config.out / f"{CARD}.partial"
    partial.write_text(json.dumps(_card(config, specs, rows, seconds), indent=2) + "\n")
    partial.replace(config.out / CARD)
