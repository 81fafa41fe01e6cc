"""Where episodes come from: a set of this project as LeRobot dataset or as .npz files, or anybody's LeRobot dataset
with the mapping file of its robot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from magma_contracts.arm_state import POSITION
from magma_contracts.camera import project
from magma_contracts.demonstrations import EPISODES, MARKS
from magma_contracts.errors import ConfigError
from magma_data import demonstrations as native
from magma_data import layout
from magma_data.errors import DatasetError
from magma_data.reader import Dataset, Episode, is_dataset
from magma_policy.demonstrations.conversion import Conversion
from magma_policy.demonstrations.data_card import DataCard
from magma_policy.demonstrations.episode_file import (
    ARRAYS,
    DemonstrationError,
    check_arrays,
    read_episode,
)
from magma_policy.demonstrations.mapping import Calibration, Mapping

Arrays = dict[str, np.ndarray]
TOOL = MARKS.index("tool")


@dataclass(frozen=True)
class Source:
    """One episode: what it is called, where it lies (for messages), and how its arrays are read. `read` raises
    DemonstrationError, which begins with `where`."""

    name: str
    where: str
    read: Callable[[], Arrays]
    file: Path | None = None
    """that holds this episode and nothing else"""


@dataclass(frozen=True)
class DemonstrationSet:
    """A set with its card and its episodes in order."""

    directory: Path
    card: DataCard
    episodes: tuple[Source, ...]
    dataset: Dataset | None = None
    """that they are read from, where they are no files of their own"""


def find_set(path: Path) -> Path:
    """The folder of a set: itself, the snapshot in a folder of the Hub's cache (`datasets--owner--name`), or what the
    caches of lerobot and of the Hub hold of `owner/name`. DemonstrationError says where was looked."""
    if path.is_dir():
        return _snapshot(path)
    owner_and_name = path.parts if len(path.parts) == 2 and not path.is_absolute() else ()
    looked = [path]
    if owner_and_name:
        home = Path(os.environ.get("HF_HOME", Path.home() / ".cache/huggingface")).expanduser()
        lerobot = Path(os.environ.get("HF_LEROBOT_HOME", home / "lerobot")).expanduser()
        folder = "datasets--" + "--".join(owner_and_name)
        hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
        looked += [lerobot.joinpath(*owner_and_name), lerobot / "hub" / folder, hub / folder]
        for candidate in looked[1:]:
            if candidate.is_dir():
                return _snapshot(candidate)
    raise DemonstrationError(
        f"{path}: no such folder, and nothing of this name in {', '.join(map(str, looked[1:]))}; hf download "
        f"--repo-type dataset {path} fetches it" if owner_and_name else f"{path}: no such data card, nor such a folder"
    )  # fmt: skip


def _snapshot(folder: Path) -> Path:
    if is_dataset(folder) or not (folder / "snapshots").is_dir():
        return folder
    main = folder / "refs" / "main"
    names = [main.read_text(encoding="utf-8").strip()] if main.is_file() else []
    names += sorted(path.name for path in (folder / "snapshots").iterdir())
    for name in names:
        if name and "/" not in name and is_dataset(folder / "snapshots" / name):
            return folder / "snapshots" / name
    raise DemonstrationError(f"{folder}: no snapshot in it is a dataset (lacks {layout.INFO})")


def open_set(path: Path, mappings: Sequence[Mapping] = ()) -> DemonstrationSet:
    """A set of any of the three kinds. Raises DemonstrationError, also for one that needs a mapping file and has
    none."""
    directory = find_set(path)
    if not is_dataset(directory):
        card = DataCard.read(directory)
        return DemonstrationSet(directory, card, tuple(map(_of_file, list_episodes(directory))))
    try:
        return of_dataset(Dataset(directory), mappings)
    except DatasetError as error:
        raise DemonstrationError(str(error)) from error


def of_dataset(dataset: Dataset, mappings: Sequence[Mapping] = ()) -> DemonstrationSet:
    """The set that a dataset is. Raises DemonstrationError, also for one that needs a mapping file and has none."""
    if not dataset.card:
        return _foreign(dataset, mappings)
    card = DataCard.read(dataset.folder)
    episodes = tuple(_native(dataset, episode) for episode in dataset.episodes)
    return DemonstrationSet(dataset.folder, card, episodes, dataset)


def list_episodes(directory: Path) -> list[Path]:
    """Every episode file of a set of .npz files, ordered by name; DemonstrationError when there is none."""
    paths = sorted((directory / EPISODES).glob("*.npz"))
    if not paths:
        raise DemonstrationError(f"no episodes (*.npz) under {directory / EPISODES}, and no {layout.INFO} of a dataset")
    return paths


def _of_file(path: Path) -> Source:
    return Source(path.name, str(path), lambda: read_episode(path), path)


def _native(dataset: Dataset, episode: Episode) -> Source:
    where = f"{dataset.folder}: {episode.title}"

    def read() -> Arrays:
        try:
            arrays = native.read_episode(dataset, episode, ARRAYS)
            frames = native.read_frames(dataset, episode)
        except DatasetError as error:
            raise DemonstrationError(str(error)) from error
        if frames is not None:
            arrays["frames"] = frames
        return check_arrays(where, arrays)

    return Source(episode.name, where, read)


def _foreign(dataset: Dataset, mappings: Sequence[Mapping]) -> DemonstrationSet:
    kind = dataset.info.robot_type
    fitting = [mapping for mapping in mappings if mapping.robot_type == kind]
    if len(fitting) != 1:
        raise DemonstrationError(
            f"{dataset.folder}: what its numbers mean is not known: {len(fitting)} mapping files for robot_type "
            f"{kind!r}; "
            f"`magma-data mapping {dataset.folder}` prints one to fill in, --mappings gives it"
        )
    mapping = fitting[0]
    try:
        conversion = Conversion(mapping, dataset)
    except ConfigError as error:
        raise DemonstrationError(f"{dataset.folder}: the mapping of {kind!r} does not fit: {error}") from error
    height, width = mapping.image_size or dataset.info.features[mapping.camera].shape[:2]
    seen = mapping.calibration
    card = DataCard.of_mapping(
        dataset.folder, mapping.robot, (height, width), 1.0 / mapping.fps,
        None if seen is None else (seen.intrinsics, seen.extrinsics_base_to_optical, seen.table_height_m),
    )  # fmt: skip
    episodes = [
        source for episode in dataset.episodes for source in _converted(dataset, episode, conversion, height, width)
    ]
    return DemonstrationSet(dataset.folder, card, tuple(episodes), dataset)


def _converted(dataset: Dataset, episode: Episode, conversion: Conversion, height: int, width: int) -> Iterator[Source]:
    """A source for each instruction of an episode."""
    if len(episode.tasks) <= 1:
        yield _part(dataset, episode, conversion, (height, width), None)
        return
    for number, task in enumerate(episode.tasks):
        yield _part(dataset, episode, conversion, (height, width), (number, task))


def _part(
    dataset: Dataset, episode: Episode, conversion: Conversion, size: tuple[int, int], part: tuple[int, str] | None
) -> Source:
    seen = conversion.mapping.calibration
    where = f"{dataset.folder}: episode {episode.index}"

    def read() -> Arrays:
        try:
            arrays: Arrays = conversion.arrays(episode)
            if seen is not None:
                arrays["marks"][:, TOOL] = _seen_tool(arrays["proprioception"], seen)
            kept = conversion.kept(episode.length)
            tasks = dataset.read(episode, [layout.TASK])[layout.TASK].reshape(-1)[kept]
            texts = [dataset.tasks.get(int(number)) for number in np.unique(tasks)]
            if None in texts or not set(texts) <= set(episode.tasks or texts):
                raise DemonstrationError(
                    f"{where}: its task_index names instructions that its list of tasks does not have"
                )
            chosen = np.arange(len(kept))
            if part is not None:
                chosen = np.flatnonzero([dataset.tasks[int(number)] == part[1] for number in tasks])
                arrays = {name: array[chosen] for name, array in arrays.items()}
            if not len(chosen):
                raise DemonstrationError(f"{where}: of the instruction {part[1]!r} no frame is left" if part else where)
            pictures = dataset.pictures(episode, conversion.mapping.camera, kept[chosen].tolist())
            arrays["frames"] = np.stack([_resized(picture, size) for picture in pictures])
            arrays["instruction"] = np.array(part[1] if part is not None else texts[0])
        except DemonstrationError:
            raise
        except DatasetError as error:
            raise DemonstrationError(str(error)) from error
        except ValueError as error:
            raise DemonstrationError(f"{where}: {error}") from error
        return check_arrays(where, arrays)

    return Source(episode.name if part is None else f"{episode.name}-{part[0]}", where, read)


def _seen_tool(proprioception: np.ndarray, seen: Calibration) -> np.ndarray:
    """Where the tool is in the picture, pixels (T, 2): the one mark that the arm itself tells."""
    return project(proprioception[:, POSITION], np.array(seen.intrinsics), np.array(seen.extrinsics_base_to_optical))


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if picture.shape[:2] == size:
        return picture
    made: Any = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(made, dtype=np.uint8)
