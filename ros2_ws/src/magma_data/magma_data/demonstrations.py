"""This project's demonstrations as a LeRobot dataset: which array of the demonstration format is which feature.

State, actions and pictures have LeRobot's own names. What only this project knows is a feature that begins with
`magma.`, a line of meta/magma_episodes.jsonl or the data card meta/magma.json, which other tools leave alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.actions import DELTA_FIELDS
from magma_contracts.demonstrations import MARKS, SHAPES
from magma_data import layout
from magma_data.errors import DatasetError
from magma_data.info import Feature
from magma_data.reader import Dataset, Episode
from magma_data.writer import DatasetWriter

CAMERA = "third_person"
STATE_NAMES = (
    "x", "y", "z", "qx", "qy", "qz", "qw", "target_x", "target_y", "target_z", "target_qx", "target_qy", "target_qz",
    "target_qw", "gripper", "target_gripper",
)  # fmt: skip
PLACES: Mapping[str, str] = {
    "proprioception": layout.STATE,
    "actions": layout.ACTION,
    "executed": layout.OWN + "executed",
    "marks": layout.OWN + "marks",
    "points": layout.OWN + "points",
    "object_positions": layout.OWN + "object_positions",
    "weights": layout.OWN + "weight",
    "operator": layout.OWN + "operator",
    "intervention": layout.OWN + "intervention",
}
"""The feature of each array; `frames` are pictures, the rest stands in the episode's line."""
_DTYPES = {"operator": "bool", "intervention": "int32"}
_NAMES: Mapping[str, tuple[str, ...]] = {
    "proprioception": STATE_NAMES,
    "actions": DELTA_FIELDS,
    "executed": DELTA_FIELDS,
}
OF_EPISODE = ("object_names", "task", "success")


@dataclass(frozen=True)
class SetForm:
    """What every episode of a set has: which arrays, pictures of which size, and how many objects at most."""

    arrays: tuple[str, ...]
    """names of `PLACES`"""
    image_size: tuple[int, int] | None
    """height and width of the pictures, px; None without"""
    objects: int = 0
    marks: int = len(MARKS)
    camera: str = CAMERA
    video: bool = False
    """pictures as films, which are smaller and lose a little; otherwise PNG, which loses nothing"""

    @property
    def features(self) -> dict[str, Feature]:
        """As LeRobot describes them."""
        sizes = {"N": self.objects, "K": self.marks}
        made: dict[str, Feature] = {}
        if self.image_size is not None:
            kind = "video" if self.video else "image"
            made[layout.IMAGES + self.camera] = Feature(kind, (*self.image_size, 3), ("height", "width", "channels"))
        for name in self.arrays:
            shape = tuple(size if isinstance(size, int) else sizes[size] for size in SHAPES[name][1:])
            made[PLACES[name]] = Feature(_DTYPES.get(name, "float32"), shape or (1,), _NAMES.get(name))
        return made


def form_of(arrays: Mapping[str, Any], objects: int = 0, video: bool = False) -> SetForm:
    """The form of a set whose episodes have the same arrays as this one, with up to `objects` objects."""
    frames = arrays.get("frames")
    return SetForm(
        tuple(name for name in PLACES if name in arrays and (name != "object_positions" or objects)),
        None if frames is None else tuple(frames.shape[1:3]),
        objects,
        marks=arrays["marks"].shape[1] if "marks" in arrays else len(MARKS),
        video=video,
    )


def open_set(folder: Path, form: SetForm, fps: float, robot: str = "") -> DatasetWriter:
    """A set to write to; one that is there already is gone on with. Raises DatasetError."""
    return DatasetWriter(folder, round(fps, 9), form.features, robot)


def add_episode(writer: DatasetWriter, form: SetForm, name: str, arrays: Mapping[str, Any]) -> None:
    """Takes in an episode, given as the arrays of the demonstration format.

    Raises:
        DatasetError: it has not the arrays of the set, or others of another shape.
    """
    values: dict[str, Any] = {}
    if form.image_size is not None:
        if "frames" not in arrays:
            raise DatasetError(f"{writer.folder}: the episode {name} has no frames, others of the set have")
        values[layout.IMAGES + form.camera] = arrays["frames"]
    for array in form.arrays:
        if array not in arrays:
            raise DatasetError(f"{writer.folder}: the episode {name} has no {array}, others of the set have")
        values[PLACES[array]] = _padded(arrays[array], form.objects) if array == "object_positions" else arrays[array]
    more: dict[str, Any] = {"name": name}
    if "task" in arrays:
        more["task"] = str(arrays["task"])
    if "success" in arrays:
        more["success"] = bool(arrays["success"])
    if "object_names" in arrays:
        more["object_names"] = [str(known) for known in arrays["object_names"]]
    writer.add(values, str(arrays["instruction"]), more)


def read_episode(dataset: Dataset, episode: Episode, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of the demonstration format that an episode of this project's sets has, but for its frames.

    Raises:
        DatasetError: what the set itself tells of it is missing, damaged or does not fit.
    """
    known = [
        name for name, place in PLACES.items() if place in dataset.info.features and (names is None or name in names)
    ]
    found = dataset.read(episode, [PLACES[name] for name in known])
    arrays = {name: found[PLACES[name]] for name in known}
    for name in ("weights", "operator", "intervention"):
        if name in arrays:
            arrays[name] = arrays[name].reshape(-1)
    objects = episode.more.get("object_names")
    if objects is not None:
        if not isinstance(objects, list) or not all(isinstance(known, str) for known in objects):
            raise DatasetError(f"{dataset.folder}: the object_names of {episode.title} are no list of text")
        arrays["object_names"] = np.array(objects, dtype=np.str_)
        if "object_positions" in arrays:
            arrays["object_positions"] = arrays["object_positions"][:, : len(objects)]
    arrays["instruction"] = np.array(episode.tasks[0] if episode.tasks else "")
    if isinstance(episode.more.get("task"), str):
        arrays["task"] = np.array(episode.more["task"])
    if isinstance(episode.more.get("success"), bool):
        arrays["success"] = np.array(episode.more["success"])
    return arrays


def read_frames(dataset: Dataset, episode: Episode) -> NDArray[np.uint8] | None:
    """The pictures uint8 (T, H, W, 3) of an episode of this project's sets, None where it has none. Raises
    DatasetError."""
    cameras = dataset.info.cameras
    return np.stack([*dataset.pictures(episode, cameras[0])]) if cameras else None


def _padded(positions: NDArray[Any], objects: int) -> NDArray[Any]:
    return np.pad(positions, ((0, 0), (0, objects - positions.shape[1]), (0, 0)), constant_values=np.nan)
