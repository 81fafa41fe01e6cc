"""Makes the demonstrations of a folder that are not there yet, in one process or several."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from magma_contracts.outputs import check_folder
from magma_contracts.text import printable
from magma_eval.policies.choice import PolicyChoice
from magma_sim.demonstrations.actor import Actor, actor_server
from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.demonstrations.files import episode_path, recording_settings, write_card, write_episode
from magma_sim.demonstrations.recording import record_episode
from magma_sim.registry import make_task
from magma_sim.tasks.interface import TaskSpec

_actor: Actor | None = None
"""of this worker process"""


def _record_to_disk(job: tuple[DemonstrationConfig, str, int]) -> tuple[str, int, int, bool]:
    """Worker: plays an episode and writes its file whole or not at all. Returns task, seed, steps, success."""
    config, task, seed = job
    arrays = record_episode(config, task, seed, _actor)
    path = episode_path(config.out, task, seed)
    write_episode(path, arrays)
    return task, seed, len(arrays["actions"]), bool(arrays["success"])


def _prepare_worker(choice: PolicyChoice | None, url: str, token: str) -> None:
    import cv2

    global _actor
    cv2.setNumThreads(1)
    _actor = Actor(choice, url, token) if choice is not None else None


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


def _recording_of(card: Path) -> object:
    """How a folder was recorded. Raises ValueError for a card that does not tell."""
    try:
        found: object = json.loads(card.read_text(encoding="utf-8"))["recording"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{card} does not tell how its episodes were recorded ({printable(error)}), maybe cut off by a crash; "
            "choose another --out, or delete the folder"
        ) from error
    return found


def _counted(episode: Path) -> tuple[int, bool]:
    """Steps of an episode, and whether it succeeded. Raises ValueError for a damaged file."""
    try:
        with np.load(episode, allow_pickle=False) as arrays:
            return len(arrays["actions"]), bool(arrays["success"])
    # Not a list of types: on damaged files zipfile and numpy let almost any error through.
    except Exception as error:
        raise ValueError(f"{episode} is damaged ({printable(error)}); delete it to have it made again") from error


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

    check_folder(config.out, "--out")
    (config.out / "episodes").mkdir(parents=True, exist_ok=True)
    card_path = config.out / "card.json"
    if card_path.exists():
        recorded = _recording_of(card_path)
        if recorded != recording_settings(config):
            raise ValueError(
                f"{config.out} holds episodes recorded with {recorded}, not with {recording_settings(config)}; "
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
                count(task, *_counted(path))
            else:
                jobs.append((task, seed))
    begin = time.monotonic()
    write_card(config, specs, rows, 0.0)
    if not jobs:
        return rows
    with (
        actor_server(config) as actor,
        tqdm(total=len(jobs), unit="episode", file=sys.stderr, mininterval=2.0) as bar,
    ):
        for index, (task, _, steps, success) in enumerate(_finished(config, jobs, actor)):
            count(task, steps, success)
            bar.update()
            if index % 100 == 99:
                write_card(config, specs, rows, time.monotonic() - begin)
    write_card(config, specs, rows, time.monotonic() - begin)
    return rows
