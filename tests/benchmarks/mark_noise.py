"""What noise on the marks costs whatever the policy: the expert is asked where the objects are, and where they seem.

    magma-demos --out states --no-images --episodes 15 --seed 100000 \\
        --tasks widowx_carrot_on_plate widowx_spoon_on_towel widowx_stack_cube
    python tests/benchmarks/mark_noise.py states

Nothing is simulated or trained. Counted are recorded steps with the tool within 8 cm of the source. The marks of the
source (centre and tip) and of the target move by `--pixels` (standard deviation per axis), at the objects' own heights.
Printed: how far the place of the grasp moves, the expert's translation and its turn; and, for steps with open fingers
within 3 cm of the grasp, how much of an offset that the marks show is really there: V / (V + N), with V the variance of
the tool's recorded offsets and N that of the noise. So much of it is what training on these steps teaches to believe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from magma_contracts.arm_state import ArmState
from magma_contracts.geometry.rotations import quaternion_from_yaw, rotate
from magma_sim.experts.pick_and_place import ScriptedExpert
from magma_sim.registry import skill_of
from magma_sim.tasks.skill import Poses, Skill

NEAR_M, LOW_M, BESIDE_M = 0.08, 0.03, 0.03
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What noise on the marks costs."""

    set: tyro.conf.Positional[Path]
    """a demonstration set; pictures are not needed"""
    pixels: tuple[float, ...] = (0.4, 0.6, 0.8)
    seed: int = 0


class Camera:
    """The camera of a set's card."""

    def __init__(self, card: dict[str, list[list[float]]]) -> None:
        self._pixels = np.array(card["camera_intrinsics"])
        extrinsics = np.array(card["camera_extrinsics_base_to_optical"])
        self._turn, self._shift = extrinsics[:3, :3], extrinsics[:3, 3]
        self._centre = -self._turn.T @ self._shift

    def moved(self, point: Vector, by_px: Vector) -> Vector:
        """The point (3,) of the same height that is seen `by_px` (2,) beside `point`."""
        u, v, w = self._pixels @ (self._turn @ point + self._shift)
        ray = self._turn.T @ np.linalg.solve(self._pixels, [u / w + by_px[0], v / w + by_px[1], 1.0])
        return self._centre + ray * (point[2] - self._centre[2]) / ray[2]


def steps(directory: Path, task: str) -> Iterator[tuple[Vector, ArmState]]:
    """The four points (4, 3) and the arm of every recorded step."""
    for path in sorted((directory / "episodes").glob(f"{task}-*.npz")):
        with np.load(path, allow_pickle=False) as episode:
            for points, p in zip(episode["points"].astype(float), episode["proprioception"].astype(float), strict=True):
                yield points, ArmState.from_vector(p)


def poses_of(skill: Skill, centre: Vector, tip: Vector, rest: Vector) -> Poses:
    """Where the objects are that lie level and are seen at these points."""
    yaw = float(np.arctan2(*(tip - centre)[1::-1]))
    target = rest - np.array([0.0, 0.0, skill.target_top])
    return {skill.source: (centre, quaternion_from_yaw(yaw)), skill.target: (target, UPRIGHT)}


def grasp_of(skill: Skill, poses: Poses) -> Vector:
    """Where the source is grasped."""
    place, rotation = poses[skill.source]
    return place + rotate(rotation, np.array([skill.grasp_offset, 0.0, 0.0]))


def measure(settings: Settings, camera: Camera, task: str, pixels: float) -> str:
    """One row of the table."""
    skill, expert, rng = skill_of(task), ScriptedExpert(task), np.random.default_rng(settings.seed)
    moved, turned, grasps, offsets, noise = [], [], [], [], []
    for (centre, tip, rest, tool), arm in steps(settings.set, task):
        if np.hypot(*(tool - centre)[:2]) >= NEAR_M:
            continue
        there = poses_of(skill, centre, tip, rest)
        seen = poses_of(skill, *(camera.moved(point, rng.normal(0.0, pixels, 2)) for point in (centre, tip, rest)))
        difference = expert.act(arm, seen) - expert.act(arm, there)
        moved.append(1e3 * np.linalg.norm(difference[:3]))
        turned.append(np.degrees(np.linalg.norm(difference[3:6])))
        grasp = grasp_of(skill, there)
        error, offset = (grasp_of(skill, seen) - grasp)[:2], (arm.position - grasp)
        grasps.append(1e3 * np.linalg.norm(error))
        if arm.gripper_target > 0.5 and offset[2] < LOW_M and np.hypot(*offset[:2]) < BESIDE_M:
            offsets.append(offset[:2])
            noise.append(error)
    if not offsets:
        return f"| {task} | {pixels:g} | no steps near a grasp |"
    real, wrong = np.square(offsets).mean(), np.square(noise).mean()
    cells = (
        f"{pixels:g}", f"{np.mean(grasps):.1f}", f"{np.mean(moved):.1f}", f"{100 * np.mean(np.array(moved) > 10):.0f}",
        f"{np.mean(turned):.1f}", len(moved), f"{100 * real / (real + wrong):.0f}", len(offsets),
    )  # fmt: skip
    return f"| {task} | " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Prints the table."""
    settings = tyro.cli(Settings, prog="mark_noise.py", description=__doc__)
    card = json.loads((settings.set / "card.json").read_text(encoding="utf-8"))
    columns = (
        "task",
        "noise, px",
        "grasp, mm",
        "translation, mm",
        "> 10 mm, %",
        "turn, °",
        "steps",
        "believed, %",
        "low",
    )
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for task in card["tasks"]:
        for pixels in settings.pixels:
            print(measure(settings, Camera(card), task, pixels), flush=True)


if __name__ == "__main__":
    main()
