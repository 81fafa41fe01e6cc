"""SimplerEnv's own evaluation loop against `magma-eval`: episodes per hour on one task, with one policy and machine.

Both ask the same `magma-serve` for every action, in pictures of the same size. The two take turns, `--pairs` times, so
that what else the machine does falls on both. "All" counts from the start of the command to its end; "warm" is an
episode that is not the first of its process. Neither writes videos: `magma-eval` makes them later, from the recorded
actions; `--videos` has SimplerEnv's loop write its own.

    ./run exec python tests/benchmarks/simpler_original.py --checkpoint magma-tiny --episodes 8 --pairs 2

Needs `./run setup-simpler`, and mediapy, msgpack and websockets in SimplerEnv's environment.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from magma_policy_client import LocalServer
from magma_sim.backends.simpler_original.installation import Installation, find

OWN_LOOP = """
import os, sys, time
import imageio_ffmpeg, mediapy
import numpy as np
from magma_policy_client import PolicyClient
from simpler_env.evaluation import maniskill2_evaluator as evaluator

class Model:
    def __init__(self):
        self.client = PolicyClient(os.environ["POLICY_URL"], token=os.environ["POLICY_TOKEN"], timeout_s=60)
    def reset(self, instruction):
        self.client.reset()
    def step(self, image, instruction):
        size = self.client.spec.image_height, self.client.spec.image_width
        if image.shape[:2] != size:
            import cv2
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        state = State if self.client.spec.proprioception else None
        delta = self.client.act(np.ascontiguousarray(image), instruction, state).deltas[0]
        return {}, {"world_vector": delta[:3], "rot_axangle": delta[3:6], "gripper": [2 * (delta[6] > 0.5) - 1],
                    "terminate_episode": [0.0]}
    def visualize_epoch(self, *given, **named):
        pass

class State:
    position = target_position = np.array([0.3, 0.0, 0.13])
    quaternion_xyzw = target_quaternion_xyzw = np.array([0.0, 0.7071068, 0.0, 0.7071068])
    gripper = gripper_target = 1.0

if os.environ["VIDEOS"] == "0":
    evaluator.write_video = lambda *given, **named: None
mediapy.set_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe())
model = Model()
overlay = os.path.join(os.environ["MS2_REAL2SIM_ASSET_DIR"], "real_inpainting/bridge_real_eval_1.png")
for episode in range(int(sys.argv[1])):
    begin = time.perf_counter()
    evaluator.run_maniskill2_eval_single_episode(
        model, "policy", "widowx", "PutCarrotOnPlateInScene-v0", "bridge_table_1_v1", 0.147, 0.028, [0, 0, 0, 1],
        evaluator.get_robot_control_mode("widowx", "policy"), obj_episode_id=episode, rgb_overlay_path=overlay,
        control_freq=5, sim_freq=500, max_episode_steps=60, logging_dir=sys.argv[2])
    print("episode took", time.perf_counter() - begin)
"""


@dataclass(frozen=True)
class Config:
    """What to time."""

    checkpoint: str = "magma-tiny"
    """any that `magma-serve` takes"""
    episodes: int = 8
    """per run and loop, of widowx_carrot_on_plate"""
    pairs: int = 2
    """runs of each loop"""
    workers: tuple[int, ...] = (1, 2)
    """numbers of worker processes of magma-eval to time"""
    videos: bool = False
    """whether SimplerEnv's loop writes its videos"""


@dataclass(frozen=True)
class Timing:
    """One run."""

    all_s: float
    warm_s: float
    """per episode that is not the first of its process, divided by the number of processes; nan when there is none"""


def own_loop(installation: Installation, server: LocalServer, config: Config, folder: Path) -> Timing:
    client = Path(sys.modules["magma_policy_client"].__file__ or "").parent.parent
    variables = {
        "PYTHONPATH": str(client),
        "POLICY_URL": server.url,
        "POLICY_TOKEN": server.token,
        "VIDEOS": str(int(config.videos)),
    }
    command = [installation.python, "-c", OWN_LOOP, str(config.episodes), str(folder)]
    all_s, printed = timed(command, {**os.environ, **installation.environment(), **variables})
    episodes = [float(line.split()[-1]) for line in printed.splitlines() if line.startswith("episode took")]
    return Timing(all_s, mean(episodes[1:]))


def our_loop(server: LocalServer, config: Config, workers: int, folder: Path) -> Timing:
    command = [sys.executable, "-m", "magma_eval.command", "run", "--suite", "simpler-widowx"]
    command += ["--tasks", "widowx_carrot_on_plate", "--limit", str(config.episodes), "--policy", server.url]
    command += ["--workers", str(workers), "--out", str(folder)]
    all_s, _ = timed(command, {**os.environ, "MAGMA_SERVE_TOKEN": server.token})
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    # The first lines are the first episodes of the workers: they all begin at once and take the start with them.
    return Timing(all_s, mean([line["seconds"] / workers for line in lines[workers:]]))


def mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else float("nan")


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    start = time.perf_counter()
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{command[:4]} failed:\n{result.stdout[-1000:]}\n{result.stderr[-3000:]}")
    return time.perf_counter() - start, result.stdout


def main(config: Config) -> None:
    installation = find()
    runs: dict[str, list[Timing]] = {}

    def note(name: str, timing: Timing) -> None:
        runs.setdefault(name, []).append(timing)
        print(f"{name}: {timing.all_s:.1f} s, warm {timing.warm_s:.2f} s per episode", flush=True)

    with LocalServer(config.checkpoint) as server, tempfile.TemporaryDirectory() as scratch:
        for pair in range(config.pairs):
            note("SimplerEnv's own loop", own_loop(installation, server, config, Path(scratch, f"own{pair}")))
            for workers in config.workers:
                timing = our_loop(server, config, workers, Path(scratch, f"ours{pair}-{workers}"))
                note(f"magma-eval, {workers} worker{'s' * (workers > 1)}", timing)
    print(
        f"widowx_carrot_on_plate, {config.checkpoint}, {config.episodes} episodes a run, median of {config.pairs} runs"
    )
    base: tuple[float, float] | None = None
    for name, timings in runs.items():
        all_s = statistics.median(timing.all_s for timing in timings)
        warm_s = statistics.median(timing.warm_s for timing in timings)
        base = base or (all_s, warm_s)
        rate = config.episodes / all_s * 3600
        print(
            f"  {name:<24} all {all_s:6.1f} s = {rate:5.0f} episodes/h, {base[0] / all_s:.2f} x;  "
            f"warm {warm_s:5.2f} s per episode, {base[1] / warm_s:.2f} x"
        )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
