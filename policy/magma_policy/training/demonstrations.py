"""Reader of demonstration sets: a data card and one .npz per episode (numpy arrays only, never pickle)."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from magma_policy.action_tokens import ACTION_DIMS
from magma_policy.config import CameraCalibration
from magma_policy.state import PROPRIOCEPTION_DIMS

CARD = "card.json"
EPISODES = "episodes"
# Index into the proprioception vector: the commanded gripper opening.
GRIPPER_TARGET = 15


class DemonstrationError(ValueError):
    """A demonstration set is missing, malformed or does not fit the others."""


@dataclass(frozen=True)
class ObjectWords:
    """What a person calls an object."""

    noun: str
    colour: str


@dataclass(frozen=True)
class DataCard:
    """What the model needs from card.json; the card's other entries (counts, seeds, noise) are for people.

    `robot` names the arm and camera set-up ("" when the card does not say); `intrinsics` K in pixels of the stored
    frames of `image_height` x `image_width` px (the card's `image_size` is the side of square ones, or both);
    `extrinsics` base -> camera_optical; `objects` by their name in the episodes.
    """

    robot: str
    intrinsics: tuple[tuple[float, ...], ...]
    extrinsics: tuple[tuple[float, ...], ...]
    image_height: int
    image_width: int
    table_height_m: float
    step_period_s: float
    objects: Mapping[str, ObjectWords]

    @classmethod
    def read(cls, directory: Path) -> DataCard:
        """Read DIR/card.json; DemonstrationError names a missing or malformed entry."""
        path = directory / CARD
        if not path.is_file():
            raise DemonstrationError(f"{path}: no such data card; is {directory} a demonstration set?")
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            size = data["image_size"]
            height, width = size if isinstance(size, list) else (size, size)
            return cls(
                robot=str(data.get("robot", "")),
                intrinsics=_matrix(data["camera_intrinsics"], 3),
                extrinsics=_matrix(data["camera_extrinsics_base_to_optical"], 4),
                image_height=int(height),
                image_width=int(width),
                table_height_m=float(data["table_height_m"]),
                step_period_s=float(data["step_period_s"]),
                objects={str(name): ObjectWords(**words) for name, words in data.get("objects", {}).items()},
            )
        except json.JSONDecodeError as error:
            raise DemonstrationError(f"{path}: not valid JSON ({error})") from error
        except (KeyError, TypeError, ValueError) as error:
            raise DemonstrationError(f"{path}: bad entry {error!r}") from error

    @property
    def width_height(self) -> np.ndarray:
        """float64 (2,): what pixels (x, y) are divided by to make fractions of the picture."""
        return np.array([self.image_width, self.image_height], dtype=np.float64)

    def camera(self, height_above_table_m: float) -> CameraCalibration:
        """The card's camera, with the plane that is `height_above_table_m` above the table."""
        return CameraCalibration(
            intrinsics=self.intrinsics,
            extrinsics=self.extrinsics,
            image_height=self.image_height,
            image_width=self.image_width,
            plane_height_m=self.table_height_m + height_above_table_m,
        )

    def fits(self, other: DataCard) -> bool:
        """Same camera, picture and clock, within rounding."""
        mine = [v for m in (self.intrinsics, self.extrinsics) for row in m for v in row]
        theirs = [v for m in (other.intrinsics, other.extrinsics) for row in m for v in row]
        return (
            all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) for a, b in zip(mine, theirs, strict=True))
            and (self.image_height, self.image_width) == (other.image_height, other.image_width)
            and math.isclose(self.table_height_m, other.table_height_m, abs_tol=1e-6)
            and math.isclose(self.step_period_s, other.step_period_s)
        )


def _matrix(rows: Any, size: int) -> tuple[tuple[float, ...], ...]:
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.shape != (size, size):
        raise ValueError(f"expected a {size}x{size} matrix, got shape {matrix.shape}")
    return tuple(tuple(float(v) for v in row) for row in matrix)


@dataclass(frozen=True)
class Demonstrations:
    """All steps of many episodes of one or several robots, concatenated.

    frames uint8 (F, H, W, 3); frame_index int64 (N,) is a step's row in `frames`, -1 without a picture;
    proprioception float32 (N, 16); actions float32 (N, 7), the expert's clean deltas; marks float32 (N, K, 2) as
    fractions (x, y) of the picture, NaN where unknown; instruction int64 (N,) indexes `instructions`, robot int64 (N,)
    `cards`, one per robot; episode int64 (N,); last_row int64 (N,) is the row of the episode's last step; onset bool
    (N,) marks steps near a commanded change of the gripper; weight float32 (N,) is what a step counts.
    `episode_names` are the file names and `objects` the names of the objects, per episode; object_marks float32
    (N, M, 2) are the objects' origins as `marks`, NaN beyond an episode's own number.
    """

    cards: tuple[DataCard, ...]
    instructions: tuple[str, ...]
    frames: np.ndarray
    frame_index: np.ndarray
    proprioception: np.ndarray
    actions: np.ndarray
    marks: np.ndarray
    instruction: np.ndarray
    robot: np.ndarray
    episode: np.ndarray
    last_row: np.ndarray
    onset: np.ndarray
    weight: np.ndarray
    object_marks: np.ndarray
    episode_names: tuple[str, ...]
    objects: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.actions)


def gripper_onsets(actions: np.ndarray, proprioception: np.ndarray, before: int = 2, after: int = 1) -> np.ndarray:
    """bool (T,): steps within `before`/`after` of one whose action flips the commanded gripper."""
    flips = np.abs(actions[:, -1] - proprioception[:, GRIPPER_TARGET]) > 0.5
    near = np.zeros(len(flips), dtype=bool)
    for step in np.flatnonzero(flips):
        near[max(0, step - before) : step + after + 1] = True
    return near


def is_held_out(name: str, every: int) -> bool:
    """Whether an episode file belongs to the held-out share of 1/`every`; decided by its name alone, so that a growing
    set never moves an episode from one side to the other."""
    return zlib.crc32(name.encode("utf-8")) % every == 0


def read_episode(path: Path) -> dict[str, np.ndarray]:
    """Arrays of one episode, checked for shape and finiteness; `frames` is absent in state-only episodes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DemonstrationError(f"{path}: cannot be read ({error})") from error
    needed = {"proprioception", "actions", "marks", "instruction"}
    if needed - set(data):
        raise DemonstrationError(f"{path}: lacks {sorted(needed - set(data))}")
    steps = len(data["actions"])
    shapes = {"proprioception": (steps, PROPRIOCEPTION_DIMS), "actions": (steps, ACTION_DIMS)}
    for name, shape in shapes.items():
        if data[name].shape != shape:
            raise DemonstrationError(f"{path}: {name} has shape {data[name].shape}, expected {shape}")
        if not np.isfinite(data[name]).all():
            raise DemonstrationError(f"{path}: {name} is not finite")
    if not str(data["instruction"]).strip():
        raise DemonstrationError(f"{path}: instruction is empty; a policy learns nothing from steps without one")
    known = len(data.get("object_names", ()))
    optional = {"weights": (steps,), "object_positions": (steps, known, 3)}
    for name, wanted in optional.items():
        if name in data and (data[name].shape != wanted or not np.isfinite(data[name]).all()):
            raise DemonstrationError(f"{path}: {name} must be finite and of shape {wanted}, has {data[name].shape}")
    if "weights" in data and data["weights"].min() < 0:
        raise DemonstrationError(f"{path}: weights must not be negative")
    if data["marks"].ndim != 3 or len(data["marks"]) != steps or data["marks"].shape[-1] != 2:
        raise DemonstrationError(f"{path}: marks has shape {data['marks'].shape}, expected ({steps}, K, 2)")
    if "frames" in data and (data["frames"].ndim != 4 or len(data["frames"]) != steps):
        raise DemonstrationError(f"{path}: frames has shape {data['frames'].shape}, expected ({steps}, H, W, 3)")
    return data


def list_episodes(directory: Path) -> list[Path]:
    """Every episode file, ordered by name; DemonstrationError when there is none."""
    paths = sorted((directory / EPISODES).glob("*.npz"))
    if not paths:
        raise DemonstrationError(f"no episodes (*.npz) under {directory / EPISODES}")
    return paths


def read_demonstrations(directories: Sequence[Path]) -> Demonstrations:
    """Read sets; those of one robot must share its camera, table and clock."""
    cards: dict[str, tuple[int, DataCard, Path]] = {}
    jobs: list[tuple[int, DataCard, Path]] = []
    for directory in directories:
        card = DataCard.read(directory)
        number, first, where = cards.setdefault(card.robot, (len(cards), card, directory))
        if not card.fits(first):
            raise DemonstrationError(
                f"{directory}: its camera, table or clock differs from {where}; another set-up of a robot needs "
                f"another name than {card.robot!r} in the card"
            )
        jobs += [(number, card, path) for path in list_episodes(directory)]
    instructions: dict[str, int] = {}
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
    names: list[str] = []
    objects: list[tuple[str, ...]] = []
    rows = frames = 0
    for robot, card, path in tqdm(jobs, desc="reading demonstrations", unit="episode", mininterval=2.0):
        data = read_episode(path)
        steps = len(data["actions"])
        text = str(data["instruction"])
        rows += steps
        columns["proprioception"].append(data["proprioception"].astype(np.float32))
        columns["actions"].append(data["actions"].astype(np.float32))
        columns["marks"].append((data["marks"] / card.width_height).astype(np.float32))
        columns["instruction"].append(np.full(steps, instructions.setdefault(text, len(instructions))))
        columns["robot"].append(np.full(steps, robot))
        columns["episode"].append(np.full(steps, len(names)))
        columns["last_row"].append(np.full(steps, rows - 1))
        columns["onset"].append(gripper_onsets(data["actions"], data["proprioception"]))
        columns["weight"].append(data.get("weights", np.ones(steps)).astype(np.float32))
        columns["object_marks"].append(
            _project(data["object_positions"], card)
            if "object_positions" in data
            else np.zeros((steps, 0, 2), dtype=np.float32)
        )
        names.append(path.name)
        objects.append(tuple(str(name) for name in data.get("object_names", ())))
        if "frames" in data:
            expected = (card.image_height, card.image_width, 3)
            if data["frames"].shape[1:] != expected or data["frames"].dtype != np.uint8:
                raise DemonstrationError(
                    f"{path}: frames are {data['frames'].dtype} {data['frames'].shape[1:]}, the card says {expected}"
                )
            columns["frames"].append(data["frames"])
            columns["frame_index"].append(np.arange(frames, frames + steps))
            frames += steps
        else:
            columns["frame_index"].append(np.full(steps, -1))
    most = max(len(one) for one in objects)
    columns["object_marks"] = [
        np.pad(one, ((0, 0), (0, most - one.shape[1]), (0, 0)), constant_values=np.nan)
        for one in columns["object_marks"]
    ]
    sizes = {(card.image_height, card.image_width) for _, card, _ in cards.values()}
    if len(sizes) > 1:
        raise DemonstrationError(f"the sets have frames of different sizes {sorted(sizes)}; a run takes one")
    if not columns["frames"]:
        columns["frames"].append(np.zeros((0, *sizes.pop(), 3), dtype=np.uint8))
    return Demonstrations(
        cards=tuple(card for _, card, _ in cards.values()),
        instructions=tuple(instructions),
        episode_names=tuple(names),
        objects=tuple(objects),
        **{name: np.concatenate(parts) for name, parts in columns.items()},
    )


_COLUMNS = (
    "frames", "frame_index", "proprioception", "actions", "marks", "instruction", "robot", "episode", "last_row",
    "onset", "weight", "object_marks",
)  # fmt: skip


def _project(points: np.ndarray, card: DataCard) -> np.ndarray:
    """Points (T, N, 3) of the base frame, m, to fractions (T, N, 2) of the card's picture, float32."""
    extrinsics = np.array(card.extrinsics)
    pixels = (points @ extrinsics[:3, :3].T + extrinsics[:3, 3]) @ np.array(card.intrinsics).T
    fractions: np.ndarray = pixels[..., :2] / pixels[..., 2:] / card.width_height
    return fractions.astype(np.float32)
