"""`magma-demos`: demonstrations of the scripted expert, with noise-injected recoveries, written to disk.

Every step is labelled with the expert's clean action for the state that was visited, while a noisy action is executed
(Laskey et al., "DART: Noise Injection for Robust Imitation Learning", 2017). With an actor it is the policy's action
that is executed (Ross et al., "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning", 2011, DAgger): what the expert would do in the places where the policy gets to. Only layouts of the variant
"random" occur, never one that is for evaluation (see `layouts.py` of the suite's backend).

On disk (no pickle):
    OUT/card.json                    the data card: configuration, counts, camera, versions
    OUT/episodes/<task>-<seed>.npz   one episode of T steps:
        frames uint8 (T, 128, 128, 3)      RGB, as `Observation.image` in an evaluation; absent without images
        proprioception float32 (T, 16)     `EndEffectorState.as_vector`
        actions float32 (T, 7)             the expert's clean EndEffectorDelta
        executed float32 (T, 7)            what was executed
        points float32 (T, 4, 3)           base frame, m: source centre, source tip, rest point of the target, tool
        marks float32 (T, 4, 2)            the same points as pixels (u, v) of the 128 px frame
        object_names (N,)                  strings: every object of the scene, distractors too
        object_positions float32 (T, N, 3) their origins, base frame, m
        instruction, task                  strings;  success: bool, at the last step
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_sim import SimulatorUnavailableError, make_task, suite_tasks
from magma_sim.backends.tabletop.objects import TASKS
from magma_sim.evaluation.episodes import Episode
from magma_sim.evaluation.policies import (
    EpisodePolicy,
    PolicyChoice,
    PolicyFailedError,
    PolicySource,
    as_rows,
    hold_action,
    start_server,
)
from magma_sim.evaluation.suites import VALIDATION_SEED
from magma_sim.expert import ScriptedExpert
from magma_sim.object_words import OBJECT_WORDS
from magma_sim.rotations import multiply, quaternion_from_axis_angle, quaternion_from_yaw
from magma_sim.skills import Skill, Workspace, skill_of
from magma_sim.task import DemonstrableTask, Observation, TaskSpec

FORMAT_VERSION = 2
POINT_NAMES = ("source_centre", "source_tip", "target_rest_point", "tool")
_START_TRIES = 20
_SERVER_START_S = 180.0


@dataclass(frozen=True)
class NoiseConfig:
    """Noise on executed actions. Probabilities are per step or per episode; a scale of 0 switches it off."""

    scale: float = 1.0
    """multiplies every magnitude and probability below"""
    clean_episodes: float = 0.2
    """share of episodes without any noise on actions"""
    translation_m: float = 0.006
    """standard deviation per axis and step"""
    rotation_rad: float = 0.03
    """standard deviation about the vertical; a third of it about the other axes"""
    burst_probability: float = 0.06
    """chance per step that a drift of 2 to 5 steps begins"""
    burst_m: float = 0.025
    """largest drift per step"""
    burst_rad: float = 0.15
    """largest drift about the vertical per step"""
    flip_probability: float = 0.02
    """chance per step that the gripper does the opposite for 1 to 3 steps"""
    random_starts: float = 0.3
    """share of episodes that begin with the tool anywhere over the table"""
    hovering_starts: float = 0.2
    """share of episodes that begin with the tool close above the source"""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"noise.{name} must be a number of at least 0, got {value}")
        if self.random_starts + self.hovering_starts > 1:
            raise ValueError(
                "noise.random_starts and noise.hovering_starts are shares of episodes; they add up to more than 1"
            )


@dataclass(frozen=True)
class DemonstrationConfig:
    """What `magma-demos` makes."""

    out: Path
    """directory to write to; episodes that are already there are kept"""
    tasks: tuple[str, ...] = TASKS
    """tasks to demonstrate, of one suite and one camera: widowx_put_eggplant_in_basket needs a folder of its own"""
    episodes: int = 200
    """episodes per task"""
    seed: int = 0
    """number of the first random layout; episode i uses seed + i"""
    workers: int = 1
    """parallel processes"""
    images: bool = True
    """render the camera; without images an episode takes a fraction of the time"""
    hold_steps: int = 5
    """steps recorded after the goal was reached"""
    actor: str | None = None
    """policy that acts while the expert only says what it would do: magma:CHECKPOINT or ws://host:port"""
    noise: NoiseConfig = field(default_factory=NoiseConfig)

    def __post_init__(self) -> None:
        if self.actor is not None and not (PolicyChoice(self.actor).remote and self.images):
            raise ValueError(f"an actor looks at pictures: magma:CHECKPOINT or ws://host:port, got {self.actor!r}")
        if not self.tasks:
            raise ValueError("no task given")
        for task in self.tasks:
            skill_of(task)
        suites = {suite_of(task) for task in self.tasks}
        if len(suites) > 1:
            raise ValueError(f"one folder holds one suite, got tasks of {', '.join(sorted(suites))}")
        if self.seed + self.episodes > VALIDATION_SEED:
            raise ValueError(f"layouts from {VALIDATION_SEED} on are for validation: seed + episodes must stay below")
        for name, low in (("episodes", 1), ("seed", 0), ("workers", 1), ("hold_steps", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")


def suite_of(task: str) -> str:
    """The suite that a task belongs to; ValueError when there is none."""
    for suite, tasks in suite_tasks().items():
        if task in tasks:
            return suite
    raise ValueError(f"unknown task {task!r}")


class ActionNoise:
    """Noise of one episode; its state (bursts, flips) belongs to that episode."""

    def __init__(self, config: NoiseConfig, workspace: Workspace, rng: np.random.Generator) -> None:
        self._config = config
        self._low, self._high = np.array(workspace.low), np.array(workspace.high)
        self._rng = rng
        self._scale = 0.0 if rng.random() < config.clean_episodes else config.scale * float(rng.uniform(0.5, 1.5))
        self._burst = np.zeros(6)
        self._burst_left = 0
        self._flip_left = 0

    def executed(
        self, meant: NDArray[np.float64], target_position: NDArray[np.float64], *, done: bool
    ) -> NDArray[np.float64]:
        """The action to execute instead of the one that is meant; after success neither bursts nor flips begin.

        Args:
            meant: EndEffectorDelta (7,), the expert's or the actor's.
            target_position: (3,) m, the controller's target before the action; the noise keeps it in the workspace.
            done: whether the goal holds.
        """
        config, rng, scale = self._config, self._rng, self._scale
        if scale == 0.0:
            return meant
        noise = np.zeros(6)
        noise[:3] = rng.normal(0.0, scale * config.translation_m, 3)
        noise[3:] = rng.normal(0.0, scale * config.rotation_rad, 3) * (1 / 3, 1 / 3, 1.0)
        if not done and self._burst_left == 0 and rng.random() < scale * config.burst_probability:
            self._burst_left = int(rng.integers(2, 6))
            direction = rng.normal(size=3)
            self._burst[:3] = direction / np.linalg.norm(direction) * rng.uniform(0.3, 1.0) * scale * config.burst_m
            self._burst[5] = rng.uniform(-1.0, 1.0) * scale * config.burst_rad
        if self._burst_left > 0:
            self._burst_left -= 1
            noise += self._burst
        if not done and self._flip_left == 0 and rng.random() < scale * config.flip_probability:
            self._flip_left = int(rng.integers(1, 4))
        gripper = meant[6]
        if self._flip_left > 0:
            self._flip_left -= 1
            gripper = 1.0 - gripper
        move = np.clip(target_position + meant[:3] + noise[:3], self._low, self._high) - target_position
        return np.array([*move, *(meant[3:6] + noise[3:]), gripper])


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
    turned = multiply(quaternion_from_yaw(float(rng.uniform(-0.7, 0.7))), np.array(skill.tool_down_xyzw))
    return position, multiply(tilt, turned)


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


def project(points: NDArray[np.float64], spec: TaskSpec) -> NDArray[np.float64]:
    """Points (..., 3) of the base frame -> pixels (..., 2) as (u, v) of the spec's image."""
    camera = points @ spec.camera_extrinsics[:3, :3].T + spec.camera_extrinsics[:3, 3]
    pixels = camera @ spec.camera_intrinsics.T
    return pixels[..., :2] / pixels[..., 2:]


class Actor:
    """The policy that acts, one action a step, through all episodes of this process."""

    def __init__(self, choice: PolicyChoice, url: str, token: str) -> None:
        self._source = PolicySource(choice, url, token)
        self._policy: EpisodePolicy | None = None
        self._rows: list[NDArray[np.float64]] = []

    def begin(self, spec: TaskSpec, seed: int) -> None:
        """Begins an episode. Raises PolicyFailedError or PolicyMismatchError."""
        episode = Episode(spec.suite, spec.task, "random", seed, spec.task, seed, reset_variant="random")
        self._policy = self._source.for_episode(episode, spec.robot, seed, "")
        self._policy.spec.check_fits(spec)
        self._policy.reset(spec.instruction)
        self._rows = []

    def act(self, observation: Observation) -> NDArray[np.float64]:
        """EndEffectorDelta (7,). Raises PolicyFailedError."""
        assert self._policy is not None, "begin first"
        if not self._rows:
            actions = self._policy.act(observation)
            self._rows = list(as_rows(hold_action(observation) if actions is None else actions))
        return self._rows.pop(0)


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
        "marks": project(points, world.spec).astype(np.float32),
        "object_names": np.array(names),
        "object_positions": np.stack(steps["object_positions"]).astype(np.float32),
        "instruction": np.array(observation.instruction),
        "task": np.array(task),
        "success": np.array(observation.success),
    }
    if config.images:
        arrays["frames"] = np.stack(frames)
    return arrays


def episode_path(out: Path, task: str, seed: int) -> Path:
    """File of one episode."""
    return out / "episodes" / f"{task}-{seed}.npz"


_actor: Actor | None = None
"""of this worker process"""


def _record_to_disk(job: tuple[DemonstrationConfig, str, int]) -> tuple[str, int, int, bool]:
    """Worker: plays an episode and writes its file whole or not at all. Returns task, seed, steps, success."""
    config, task, seed = job
    arrays = record_episode(config, task, seed, _actor)
    path = episode_path(config.out, task, seed)
    partial = path.with_suffix(f".partial-{os.getpid()}")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    partial.replace(path)
    return task, seed, len(arrays["actions"]), bool(arrays["success"])


def _prepare_worker(choice: PolicyChoice | None, url: str, token: str) -> None:
    import cv2

    global _actor
    cv2.setNumThreads(1)
    _actor = Actor(choice, url, token) if choice is not None else None


def _identity(config: DemonstrationConfig) -> dict[str, Any]:
    """The part of the configuration that all episodes of one directory must share."""
    shared = {"images": config.images, "hold_steps": config.hold_steps, "noise": dataclasses.asdict(config.noise)}
    return shared if config.actor is None else {**shared, "actor": PolicyChoice(config.actor).identity()}


def _streams(suite: str) -> dict[str, Any]:
    """Where the layouts of a suite come from, for the card."""
    if suite == "tabletop":
        from magma_sim.backends.tabletop.layouts import STREAMS

        return {"layout_stream": STREAMS["random"], "evaluation_layout_stream": STREAMS["eval"]}
    from magma_sim.backends.simpler_bridge.layouts import OFFICIAL_CLEARANCE_M, RANDOM_STREAM

    return {"layout_stream": RANDOM_STREAM, "distance_to_official_episodes_m": OFFICIAL_CLEARANCE_M}


def _card(
    config: DemonstrationConfig, specs: dict[str, TaskSpec], rows: dict[str, dict[str, int]], seconds: float
) -> dict[str, Any]:
    spec = specs[config.tasks[0]]
    return {
        "format_version": FORMAT_VERSION,
        "suite": spec.suite,
        "robot": spec.robot,
        "variant": "random",
        **_streams(spec.suite),
        "tasks": list(config.tasks),
        "instructions": {task: specs[task].instruction for task in config.tasks},
        "episodes_wanted_per_task": config.episodes,
        "first_seed": config.seed,
        "counts": rows,
        "recording": _identity(config),
        "action": {
            "fields": ["dx", "dy", "dz", "rx", "ry", "rz", "gripper"],
            "units": "m, axis-angle rad, absolute opening 0 closed .. 1 open",
            "frame": "base frame, relative to the controller's target",
        },
        "points": list(POINT_NAMES),
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


def _write_card(
    config: DemonstrationConfig, specs: dict[str, TaskSpec], rows: dict[str, dict[str, int]], seconds: float
) -> None:
    partial = config.out / "card.json.partial"
    partial.write_text(json.dumps(_card(config, specs, rows, seconds), indent=2) + "\n")
    partial.replace(config.out / "card.json")


@contextmanager
def _actor_server(config: DemonstrationConfig) -> Iterator[tuple[PolicyChoice | None, str, str]]:
    """The actor with the address and token of its server, which runs for as long; None and two times "" without."""
    if config.actor is None:
        yield None, "", ""
        return
    choice = PolicyChoice(config.actor)
    if choice.kind != "magma":
        yield choice, choice.text, choice.token
        return
    server = start_server(choice, config.out / "policy-server.log", _SERVER_START_S)
    try:
        yield choice, server.url, server.token
    finally:
        server.close()


def _finished(
    config: DemonstrationConfig, jobs: list[tuple[str, int]], actor: tuple[PolicyChoice | None, str, str]
) -> Iterator[tuple[str, int, int, bool]]:
    if config.workers == 1:
        _prepare_worker(*actor)
        for task, seed in jobs:
            yield _record_to_disk((config, task, seed))
        return
    # SAPIEN's engine does not survive a fork. One rendering thread each: the processes are the parallelism.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with context.Pool(config.workers, initializer=_prepare_worker, initargs=actor) as pool:
        yield from pool.imap_unordered(_record_to_disk, [(config, task, seed) for task, seed in jobs])


def _specs(config: DemonstrationConfig) -> dict[str, TaskSpec]:
    """Spec of every task; ValueError when they do not share one camera, which is in the card once."""
    specs = {task: make_task(task, images=config.images).spec for task in config.tasks}
    first = specs[config.tasks[0]]
    for spec in specs.values():
        if not np.allclose(spec.camera_extrinsics, first.camera_extrinsics):
            raise ValueError(f"{spec.task} and {first.task} have different cameras: make two folders of them")
    return specs


def generate(config: DemonstrationConfig) -> dict[str, dict[str, int]]:
    """Makes every missing episode. May be interrupted at any time and run again.

    Returns:
        task -> {"episodes", "steps", "successes"} over all episodes that are now there.

    Raises:
        ValueError: the directory holds episodes recorded with other settings, or the tasks have different cameras.
        PolicyFailedError: the actor's server does not start or answer; PolicyMismatchError (a ValueError): the actor
            is made for another robot or camera.
        SimulatorUnavailableError: images wanted and no device can render, or the tasks' data files are not here.
    """
    from tqdm import tqdm

    (config.out / "episodes").mkdir(parents=True, exist_ok=True)
    card_path = config.out / "card.json"
    if card_path.exists():
        recorded = json.loads(card_path.read_text())["recording"]
        if recorded != _identity(config):
            raise ValueError(
                f"{config.out} holds episodes recorded with {recorded}, not with {_identity(config)}; "
                "choose another --out or the same settings"
            )
    specs = _specs(config)
    rows = {task: {"episodes": 0, "steps": 0, "successes": 0} for task in config.tasks}

    def count(task: str, steps: int, success: bool) -> None:
        rows[task]["episodes"] += 1
        rows[task]["steps"] += steps
        rows[task]["successes"] += int(success)

    jobs = []
    # Task after task for each seed, so that an interrupted run holds all tasks in equal parts.
    for seed in range(config.seed, config.seed + config.episodes):
        for task in config.tasks:
            path = episode_path(config.out, task, seed)
            if path.exists():
                with np.load(path, allow_pickle=False) as episode:
                    count(task, len(episode["actions"]), bool(episode["success"]))
            else:
                jobs.append((task, seed))
    begin = time.monotonic()
    _write_card(config, specs, rows, 0.0)
    if not jobs:
        return rows
    with (
        _actor_server(config) as actor,
        tqdm(total=len(jobs), unit="episode", file=sys.stderr, mininterval=2.0) as bar,
    ):
        for index, (task, _, steps, success) in enumerate(_finished(config, jobs, actor)):
            count(task, steps, success)
            bar.update()
            if index % 100 == 99:
                _write_card(config, specs, rows, time.monotonic() - begin)
    _write_card(config, specs, rows, time.monotonic() - begin)
    return rows


def main() -> None:
    """Command line entry point of `magma-demos`."""
    import tyro

    config = tyro.cli(DemonstrationConfig, prog="magma-demos", description=__doc__)
    try:
        rows = generate(config)
    except (ValueError, OSError, SimulatorUnavailableError, PolicyFailedError) as error:
        sys.exit(f"magma-demos: {error}")
    except KeyboardInterrupt:
        sys.exit("magma-demos: interrupted; run the same command again to go on")
    for task, row in rows.items():
        print(f"{task:20s} {row['episodes']} episodes, {row['steps']} steps, {row['successes']} successes")


if __name__ == "__main__":
    main()
