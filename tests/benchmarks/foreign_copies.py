"""Copies of this project's demonstrations as other labs would have recorded them, and whether they are read the same.

    python tests/benchmarks/foreign_copies.py runs/demos --out runs/foreign     # both styles, and the check
    magma-train --demonstrations runs/foreign/droid --mappings runs/foreign/droid.yaml --output runs/droid

droid   as DROID's sets: 15 frames/s, an exterior camera, absolute poses of the end effector with static Euler angles, a
        gripper of which 1 is closed, and columns of the pose that was told last. Actions are what is taught, as in the
        original
so101   as SO-101's sets: 30 frames/s, a front camera, joints in degrees with the gripper as the last of them, 0 closed
        and 100 open. The arm is a gantry of three slides and three turns, whose joints follow exactly from a pose; a
        slide of 1 "degree" is pi/180 m, since a set has one unit for all joints. Actions are what was done, as such a
        set has no place for anything else: the original's `executed`, of which the noise is a part

Frames between two of the original are repeated, as a camera that is slower than the recorder gives them. Everything but
pictures goes through float32, as in those sets.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from magma_contracts.geometry.rotation_arrays import multiply, quaternion_from_axis_angle
from magma_contracts.geometry.rotation_forms import coded
from magma_data import demonstrations as native
from magma_data import layout
from magma_data.info import Feature
from magma_data.reader import Dataset
from magma_data.writer import DatasetWriter
from magma_policy.demonstrations.mapping import Mapping
from magma_policy.demonstrations.reader import Demonstrations, read_demonstrations

AXES = (("slide_x", "prismatic", "1 0 0"), ("slide_y", "prismatic", "0 1 0"), ("slide_z", "prismatic", "0 0 1"),
        ("yaw", "revolute", "0 0 1"), ("pitch", "revolute", "0 1 0"), ("roll", "revolute", "1 0 0"))  # fmt: skip
RADIANS = np.pi / 180.0
TOLD = "observation.told"

Row = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Numbers (T, n) of positions (T, 3) m, quaternions xyzw (T, 4) and openings (T,), 0 closed .. 1 open."""


def droid(position: np.ndarray, turn: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """Pose with Euler angles, gripper 1 closed."""
    return np.concatenate([position, coded(turn, "euler_xyz"), 1.0 - opening[:, None]], axis=1)


def so101(position: np.ndarray, turn: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """Joints in degrees, gripper 0 closed .. 100 open."""
    angles = coded(turn, "euler_xyz")[:, ::-1]
    return np.concatenate([position / RADIANS, angles / RADIANS, 100.0 * opening[:, None]], axis=1)


STYLES: dict[str, tuple[Row, int, str, str, dict[str, Any]]] = {
    "droid": (
        droid, 3, "panda", "exterior_image_1_left",
        {"space": "end_effector", "position": "{f}[0:3]", "rotation": "{f}[3:6]", "rotation_form": "euler_xyz",
         "gripper": "{f}[6]", "gripper_closed": 1.0, "gripper_open": 0.0},
    ),
    "so101": (
        so101, 6, "so101_follower", "front",
        {"space": "joints", "joints": "{f}[0:6]", "joint_unit": "deg", "gripper": "{f}[6]", "gripper_closed": 0.0,
         "gripper_open": 100.0},
    ),
}  # fmt: skip
"""How a pose is written, frames for each of the original, robot type, camera, and the words of the mapping file."""


def copy(source: Path, out: Path, style: str) -> Path:
    """Writes OUT/STYLE, a copy of a native set, and OUT/STYLE.yaml, its mapping file; returns the set's folder."""
    row, repeat, robot, camera, words = STYLES[style]
    dataset = Dataset(source)
    (pictured,) = dataset.info.cameras
    image = layout.IMAGES + camera
    features = {
        image: Feature("image", dataset.info.features[pictured].shape, ("height", "width", "channels")),
        layout.STATE: Feature("float32", (7,)),
        layout.ACTION: Feature("float32", (7,)),
        **({TOLD: Feature("float32", (7,))} if style == "droid" else {}),
    }
    writer = DatasetWriter(out / style, dataset.info.fps * repeat, features, robot)
    for episode in dataset.episodes:
        arrays = native.read_episode(dataset, episode, ("proprioception", "actions", "executed"))
        state = arrays["proprioception"].astype(np.float64)
        actions = arrays[taught(style, arrays)].astype(np.float64)
        turns = (state[:, 3:7], state[:, 10:14])
        unit = [turn / np.linalg.norm(turn, axis=1, keepdims=True) for turn in turns]
        aimed = multiply(quaternion_from_axis_angle(actions[:, 3:6]), unit[1])
        values = {
            image: np.stack([*dataset.pictures(episode, pictured)]),
            layout.STATE: row(state[:, :3], unit[0], state[:, 14]),
            layout.ACTION: row(state[:, 7:10] + actions[:, :3], aimed, actions[:, 6]),
        }
        if style == "droid":
            values[TOLD] = row(state[:, 7:10], unit[1], state[:, 15])
        instruction = str(arrays["instruction"])
        writer.add({name: np.repeat(value, repeat, axis=0) for name, value in values.items()}, instruction)
    writer.flush()
    _write_mapping(dataset, out, style, image, words)
    return out / style


def taught(style: str, arrays: Any) -> str:
    """Which of an episode's arrays are the actions of a copy."""
    return "executed" if style == "so101" and "executed" in arrays else "actions"


def _write_mapping(dataset: Dataset, out: Path, style: str, image: str, words: dict[str, Any]) -> None:
    robot = STYLES[style][2]
    card = dataset.card

    def pose(feature: str) -> dict[str, Any]:
        return {key: value.format(f=feature) if isinstance(value, str) else value for key, value in words.items()}

    mapping: dict[str, Any] = {
        "robot_type": robot, "robot": card.get("robot") or "arm", "camera": image, "fps": dataset.info.fps,
        "state": pose(layout.STATE), "action": {"kind": "absolute", **pose(layout.ACTION)},
        "calibration": {
            "intrinsics": card["camera_intrinsics"],
            "extrinsics_base_to_optical": card["camera_extrinsics_base_to_optical"],
            "table_height_m": card["table_height_m"],
        },
    }  # fmt: skip
    if style == "droid":
        told = pose(TOLD)
        mapping["state"] |= {f"target_{name}": told[name] for name in ("position", "rotation", "gripper")}
    if words["space"] == "joints":
        names = [name for name, _, _ in AXES]
        mapping["kinematics"] = {"urdf": f"{style}.urdf", "base": "base", "tip": names[-1] + "_link", "joints": names}
        links = ["base", *(f"{name}_link" for name in names)]
        joints = "".join(
            f'<joint name="{name}" type="{kind}"><parent link="{links[n]}"/><child link="{links[n + 1]}"/>'
            f'<axis xyz="{axis}"/></joint>\n'
            for n, (name, kind, axis) in enumerate(AXES)
        )
        (out / f"{style}.urdf").write_text(f'<robot name="gantry">\n{joints}</robot>\n')
    (out / f"{style}.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(mapping)), sort_keys=False))


def differences(ours: Demonstrations, theirs: Demonstrations, actions: np.ndarray) -> dict[str, float]:
    """Largest differences: metres, radians, openings, levels of a pixel; `actions` are what the copy was made of."""
    state, known = theirs.proprioception.astype(np.float64), ours.proprioception.astype(np.float64)
    steps = np.abs(theirs.actions.astype(np.float64) - actions).max(axis=0)
    found = {
        "step, m": steps[:3].max(), "step, rad": steps[3:6].max(), "step, opening": steps[6],
        "place, m": np.abs(state[:, :3] - known[:, :3]).max(), "opening": np.abs(state[:, 14] - known[:, 14]).max(),
        "told place, m": np.abs(state[:, 7:10] - known[:, 7:10]).max(),
    }  # fmt: skip
    for name, at in (("turn, rad", slice(3, 7)), ("told turn, rad", slice(10, 14))):
        one, other = (each[:, at] / np.linalg.norm(each[:, at], axis=1, keepdims=True) for each in (state, known))
        apart = np.linalg.norm(one - other * np.sign((one * other).sum(axis=1, keepdims=True)), axis=1)
        found[name] = 4.0 * np.arcsin(np.minimum(apart / 2.0, 1.0)).max()
    pixels = theirs.frames[theirs.frame_index].astype(np.int64) - ours.frames[ours.frame_index]
    found["pixel"] = np.abs(pixels).max()
    return {name: float(value) for name, value in found.items()}


def copied_and_read(source: Path, out: Path, style: str) -> dict[str, float]:
    """Makes a copy and reads it back: the largest differences from the original. Raises ValueError where another number
    of steps comes back."""
    ours = read_demonstrations([source])
    folder = copy(source, out, style)
    theirs = read_demonstrations([folder], [Mapping.read(out / f"{style}.yaml")])
    if theirs.actions.shape != ours.actions.shape or theirs.instructions != ours.instructions:
        raise ValueError(f"{len(theirs.actions)} steps of {len(ours.actions)} came back, or other instructions")
    dataset = Dataset(source)
    every = [native.read_episode(dataset, episode, ("actions", "executed")) for episode in dataset.episodes]
    return differences(ours, theirs, np.concatenate([arrays[taught(style, arrays)] for arrays in every]))


def main() -> None:
    """Copies, reads back, and prints what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a set that magma-demos wrote, with pictures")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--styles", nargs="*", choices=STYLES, default=[*STYLES])
    given = parser.parse_args()
    for style in given.styles:
        print(
            f"{style}, largest differences: {json.dumps(copied_and_read(given.source, given.out, style))}", flush=True
        )


if __name__ == "__main__":
    main()
