"""Demonstrations on disk: a LeRobot dataset with its data card; see `magma-demos --help`."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from typing import Any

from magma_contracts.demonstrations import ACTION_ENTRY, FORMAT_VERSION, MARKS
from magma_data.demonstrations import SetForm
from magma_eval.policies.choice import PolicyChoice
from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.registry import backend_of
from magma_sim.tasks.interface import TaskSpec
from magma_sim.tasks.object_words import OBJECT_WORDS


def episode_name(task: str, seed: int) -> str:
    """What an episode is called in its set."""
    return f"{task}-{seed}"


def form_of(config: DemonstrationConfig, specs: dict[str, TaskSpec]) -> SetForm:
    """What every episode of a set has."""
    spec = specs[config.tasks[0]]
    return SetForm(
        arrays=("proprioception", "actions", "executed", "marks", "points", "object_positions"),
        image_size=(spec.image_height, spec.image_width) if config.images else None,
        objects=max(len(task.object_names) for task in specs.values()),
    )


def recording_settings(config: DemonstrationConfig) -> dict[str, Any]:
    """The part of the configuration that all episodes of one directory must share."""
    shared = {"images": config.images, "hold_steps": config.hold_steps, "noise": dataclasses.asdict(config.noise)}
    return shared if config.actor is None else {**shared, "actor": PolicyChoice(config.actor).identity()}


def card_of(
    config: DemonstrationConfig,
    specs: dict[str, TaskSpec],
    recording: dict[str, Any],
    rows: dict[str, dict[str, int]],
    seconds: float,
) -> dict[str, Any]:
    """The data card: counts by task, and the seconds that this run took so far. `recording` is `recording_settings`,
    which hash an actor's files, and a card is written after every episode."""
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
        "recording": recording,
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
