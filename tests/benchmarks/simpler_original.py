"""SimplerEnv's own evaluation loop against `magma-eval`: episodes per hour on one task, with one policy and machine.

Both ask the same `magma-serve` for every action. The two take turns, `--pairs` times, so that what else the machine
does falls on both. SimplerEnv's loop makes a new environment per episode and writes a video of each; `--no-videos`
takes its video out, since `magma-eval` makes videos later, from the recorded actions.

    ./run exec python tests/benchmarks/simpler_original.py --checkpoint magma-tiny --episodes 4 --pairs 3

Needs `./run setup-simpler`, and mediapy, msgpack and websockets in SimplerEnv's environment.
"""

from __future__ import annotations

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
import os, sys
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
    evaluator.run_maniskill2_eval_single_episode(
        model, "policy", "widowx", "PutCarrotOnPlateInScene-v0", "bridge_table_1_v1", 0.147, 0.028, [0, 0, 0, 1],
        evaluator.get_robot_control_mode("widowx", "policy"), obj_episode_id=episode, rgb_overlay_path=overlay,
        control_freq=5, sim_freq=500, max_episode_steps=60, logging_dir=sys.argv[2])
"""


@dataclass(frozen=True)
class Config:
    """What to time."""

    checkpoint: str = "magma-tiny"
    """any that `magma-serve` takes"""
    episodes: int = 4
    """per run and loop, of widowx_carrot_on_plate"""
    pairs: int = 3
    """runs of each loop"""
    workers: tuple[int, ...] = (1, 2)
    """numbers of worker processes of magma-eval to time"""
    videos: bool = True
    """whether SimplerEnv's loop writes its videos"""


def own_loop(installation: Installation, server: LocalServer, config: Config, folder: Path) -> float:
    client = Path(sys.modules["magma_policy_client"].__file__ or "").parent.parent
    variables = {
        "PYTHONPATH": str(client),
        "POLICY_URL": server.url,
        "POLICY_TOKEN": server.token,
        "VIDEOS": str(int(config.videos)),
    }
    command = [installation.python, "-c", OWN_LOOP, str(config.episodes), str(folder)]
    return timed(command, {**os.environ, **installation.environment(), **variables})


def our_loop(server: LocalServer, config: Config, workers: int, folder: Path) -> float:
    command = [sys.executable, "-m", "magma_sim.evaluation.command", "run", "--suite", "simpler-widowx"]
    command += ["--tasks", "widowx_carrot_on_plate", "--limit", str(config.episodes), "--policy", server.url]
    command += ["--workers", str(workers), "--out", str(folder)]
    return timed(command, {**os.environ, "MAGMA_SERVE_TOKEN": server.token})


def timed(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{command[:4]} failed:\n{result.stdout[-1000:]}\n{result.stderr[-3000:]}")
    return time.perf_counter() - start


def main(config: Config) -> None:
    installation = find()
    times: dict[str, list[float]] = {}
    with LocalServer(config.checkpoint) as server, tempfile.TemporaryDirectory() as scratch:
        for pair in range(config.pairs):
            seconds = own_loop(installation, server, config, Path(scratch, f"own{pair}"))
            times.setdefault("SimplerEnv's own loop", []).append(seconds)
            for workers in config.workers:
                seconds = our_loop(server, config, workers, Path(scratch, f"ours{pair}-{workers}"))
                times.setdefault(f"magma-eval, {workers} worker{'s' * (workers > 1)}", []).append(seconds)
    base = statistics.median(times["SimplerEnv's own loop"])
    print(
        f"widowx_carrot_on_plate, {config.checkpoint}, {config.episodes} episodes a run, median of {config.pairs} runs"
    )
    for name, values in times.items():
        median = statistics.median(values)
        rate = config.episodes / median * 3600
        spread = f"{min(values):.1f} - {max(values):.1f} s"
        print(f"  {name:<24} {median:6.1f} s ({spread})  {rate:5.0f} episodes/h  {base / median:.2f} x")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
