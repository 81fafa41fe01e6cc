"""Makes the demonstrations of a folder that are not there yet, in one process or several."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.demonstrations import CARD
from magma_contracts.files.outputs import check_folder
from magma_data.demonstrations import add_episode, open_set
from magma_data.reader import Dataset, is_dataset
from magma_data.writer import remove_unfinished
from magma_eval.policies.choice import PolicyChoice
from magma_sim.demonstrations.actor import Actor, actor_server
from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.demonstrations.files import card_of, episode_name, form_of, recording_settings
from magma_sim.demonstrations.recording import record_episode
from magma_sim.registry import make_task
from magma_sim.tasks.interface import TaskSpec

_actor: Actor | None = None
"""of this worker process"""


def record(job: tuple[DemonstrationConfig, str, int]) -> tuple[str, int, dict[str, NDArray[Any]]]:
    """Worker: plays an episode. Returns task, seed, arrays."""
    config, task, seed = job
    return task, seed, record_episode(config, task, seed, _actor)


def prepare_worker(choice: PolicyChoice | None, url: str, token: str) -> None:
    """Worker: before its first episode; with the actor's policy and where it is served, if there is one."""
    import cv2

    global _actor
    cv2.setNumThreads(1)
    _actor = Actor(choice, url, token) if choice is not None else None


def _finished(
    config: DemonstrationConfig, jobs: list[tuple[str, int]], actor: tuple[PolicyChoice | None, str, str]
) -> Iterator[tuple[str, int, dict[str, NDArray[Any]]]]:
    if config.ray is not None:
        from magma_sim.demonstrations.on_cluster import recorded

        yield from recorded(config, jobs, actor)
        return
    if config.workers == 1:
        prepare_worker(*actor)
        for task, seed in jobs:
            yield record((config, task, seed))
        return
    # SAPIEN's engine does not survive a fork. One rendering thread each: the processes are the parallelism.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with context.Pool(config.workers, initializer=prepare_worker, initargs=actor) as pool:
        yield from pool.imap_unordered(record, [(config, task, seed) for task, seed in jobs])


def _begun(config: DemonstrationConfig, recording: dict[str, Any]) -> Dataset | None:
    """The set that an earlier run has begun. Raises ValueError for one that was recorded with other settings, does not
    tell, or is damaged."""
    if (config.out / CARD).is_file():
        raise ValueError(
            f"{config.out} holds episodes of an earlier version of the format; choose another --out (magma-data "
            "convert "
            "makes a set of today's format of it)"
        )
    if not is_dataset(config.out):
        return None
    remove_unfinished(config.out)
    there = Dataset(config.out)
    recorded = there.card.get("recording")
    if recorded is None:
        raise ValueError(
            f"{config.out} does not tell how its episodes were recorded; choose another --out, or delete the folder"
        )
    if recorded != recording:
        raise ValueError(
            f"{config.out} holds episodes recorded with {recorded}, not with {recording}; "
            "choose another --out or the same settings"
        )
    return there


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
    recording = recording_settings(config)
    begun = _begun(config, recording)
    specs = _specs(config)
    form = form_of(config, specs)
    rows = {task: {"episodes": 0, "steps": 0, "successes": 0} for task in config.tasks}

    def count(task: str, steps: int, success: bool) -> None:
        rows[task]["episodes"] += 1
        rows[task]["steps"] += steps
        rows[task]["successes"] += int(success)

    known = {episode.name: episode for episode in begun.episodes} if begun is not None else {}
    jobs = []
    # Task after task for each seed, so that an interrupted run holds all tasks in equal parts.
    for seed in range(config.seed, config.seed + config.episodes):
        for task in config.tasks:
            there = known.get(episode_name(task, seed))
            if there is not None:
                count(task, there.length, there.more.get("success") is True)
            else:
                jobs.append((task, seed))
    begin = time.monotonic()
    spec = specs[config.tasks[0]]
    writer = open_set(config.out, form, 1.0 / spec.step_period_s, spec.robot)
    if not jobs:
        writer.flush(card_of(config, specs, recording, rows, 0.0))
        return rows
    with (
        actor_server(config) as actor,
        tqdm(total=len(jobs), unit="episode", file=sys.stderr, mininterval=2.0) as bar,
    ):
        for task, seed, arrays in _finished(config, jobs, actor):
            add_episode(writer, form, episode_name(task, seed), arrays)
            count(task, len(arrays["actions"]), bool(arrays["success"]))
            # After each one: whatever happens next, it was not made in vain.
            writer.flush(card_of(config, specs, recording, rows, time.monotonic() - begin))
            bar.update()
    return rows
