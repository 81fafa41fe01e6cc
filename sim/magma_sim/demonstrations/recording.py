"""One demonstration: the expert's clean actions for the states that a noisy execution visits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.camera import project
from magma_contracts.geometry.rotations import multiply_left_to_right, quaternion_from_axis_angle, quaternion_from_yaw
from magma_sim.demonstrations.actor import Actor
from magma_sim.demonstrations.config import DemonstrationConfig, NoiseConfig
from magma_sim.demonstrations.noise import ActionNoise
from magma_sim.experts.pick_and_place import ScriptedExpert
from magma_sim.registry import make_task, skill_of, suite_of, suite_tasks
from magma_sim.tasks.interface import DemonstrableTask, Observation
from magma_sim.tasks.skill import Skill

_START_TRIES = 20


def _start_pose(
    noise: NoiseConfig, skill: Skill, source_position: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Start of the tool: the layout's own (None), anywhere over the table, or close above the source."""
    kind = rng.random()
    if noise.scale == 0.0 or kind >= noise.random_starts + noise.hovering_starts:
        return None, None
    if kind < noise.random_starts:
        position = rng.uniform(skill.workspace.starts_low, skill.workspace.starts_high)
    else:
        position = source_position + rng.uniform([-0.03, -0.03, 0.075], [0.03, 0.03, 0.14])
    tilt = quaternion_from_axis_angle(np.array([*rng.normal(0.0, 0.04, 2), 0.0]))
    turned = multiply_left_to_right(quaternion_from_yaw(float(rng.uniform(-0.7, 0.7))), np.array(skill.tool_down_xyzw))
    return position, multiply_left_to_right(tilt, turned)


def _begin(
    world: DemonstrableTask, skill: Skill, noise: NoiseConfig, seed: int, rng: np.random.Generator
) -> Observation:
    """Starts the layout of a seed, often from an unusual pose of the arm.

    Raises:
        RuntimeError: none of many poses drawn was within the arm's reach.
    """
    source = world.reset("random", seed, render=False).object_poses[skill.source][0]
    for _ in range(_START_TRIES):
        position, rotation = _start_pose(noise, skill, source, rng)
        try:
            return world.reset("random", seed, start_position=position, start_quaternion_xyzw=rotation)
        except ValueError:
            continue
    raise RuntimeError(f"no start within reach was found for {world.spec.task}, seed {seed}")


def record_episode(
    config: DemonstrationConfig, task: str, seed: int, actor: Actor | None = None
) -> dict[str, NDArray[Any]]:
    """Plays one demonstration in this process and returns the arrays of its file."""
    tasks = suite_tasks()[suite_of(task)]
    rng = np.random.default_rng([seed, tasks.index(task), 0xD3])
    skill = skill_of(task)
    world = make_task(task, images=config.images)
    if not isinstance(world, DemonstrableTask):
        raise ValueError(f"{task} cannot start from other poses of the arm, which demonstrations need")
    observation = _begin(world, skill, config.noise, seed, rng)
    expert = ScriptedExpert(task)
    if actor is not None:
        actor.begin(world.spec, seed)
    noise = ActionNoise(config.noise, skill.workspace, rng)
    names = tuple(observation.object_poses)
    series = ("proprioception", "actions", "executed", "points", "object_positions")
    steps: dict[str, list[NDArray[Any]]] = {name: [] for name in series}
    frames: list[NDArray[np.uint8]] = []
    held = 0
    while observation.step < world.spec.max_steps and held < config.hold_steps:
        clean = expert.act(observation.end_effector, observation.object_poses)
        meant = clean if actor is None else actor.act(observation)
        executed = noise.executed(meant, observation.end_effector.target_position, done=observation.success)
        steps["proprioception"].append(observation.end_effector.as_vector())
        steps["actions"].append(clean)
        steps["executed"].append(executed)
        steps["points"].append(skill.key_points(observation.object_poses, observation.end_effector.position))
        steps["object_positions"].append(np.stack([observation.object_poses[name][0] for name in names]))
        if observation.image is not None:
            frames.append(observation.image)
        observation = world.step(executed)
        held = held + 1 if observation.success else 0
    points = np.stack(steps["points"])
    arrays: dict[str, NDArray[Any]] = {
        "proprioception": np.stack(steps["proprioception"]).astype(np.float32),
        "actions": np.stack(steps["actions"]).astype(np.float32),
        "executed": np.stack(steps["executed"]).astype(np.float32),
        "points": points.astype(np.float32),
        "marks": project(points, world.spec.camera_intrinsics, world.spec.camera_extrinsics).astype(np.float32),
        "object_names": np.array(names),
        "object_positions": np.stack(steps["object_positions"]).astype(np.float32),
        "instruction": np.array(observation.instruction),
        "task": np.array(task),
        "success": np.array(observation.success),
    }
    if config.images:
        arrays["frames"] = np.stack(frames)
    return arrays
