"""A LeRobot dataset of version 3.0 or 2.1: its episodes, and the arrays and pictures of each, read when they are asked
for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.text import brief, printable
from magma_data import layout, pictures, tables, videos
from magma_data.errors import DatasetError
from magma_data.info import Feature, Info, counters
from magma_data.json_files import read_lines, read_object

LONGEST_EPISODE = 1 << 26
"""Frames; more is no length."""


@dataclass(frozen=True)
class Episode:
    """Where one episode is. `start` is its first row in the file `data`, `videos` the film and the time (s) at which it
    begins in it, by camera; `tasks` are its instructions, `more` what only this project tells of it."""

    index: int
    length: int
    tasks: tuple[str, ...]
    data: Path
    start: int
    videos: Mapping[str, tuple[Path, float]] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called, in this project's sets; elsewhere its number."""
        name = self.more.get("name")
        return name if isinstance(name, str) and name else f"episode_{self.index:06d}"

    @property
    def title(self) -> str:
        """Number and name, for what people read."""
        return f"episode {self.index} ({printable(self.name)})"


class Dataset:
    """One set. Only its description is held; raises DatasetError where that does not fit together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info = Info.read(folder)
        self.tasks = self._tasks()
        self.card = read_object(folder / layout.CARD) if (folder / layout.CARD).is_file() else {}
        more = list(read_lines(folder / layout.CARD_EPISODES)) if (folder / layout.CARD_EPISODES).is_file() else []
        try:
            found = self._episodes_v3() if self.info.version == layout.V3 else self._episodes_v2()
            self.episodes = [
                Episode(e.index, e.length, e.tasks, e.data, e.start, e.videos, _entry(folder, more, e.index))
                for e in found
            ]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            if isinstance(error, DatasetError):
                raise
            raise DatasetError(f"{folder}: its episodes cannot be read ({printable(error, 160)})") from error
        self._check_totals()

    def read(self, episode: Episode, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Features of an episode that are no pictures, by name: arrays (T, *shape), texts as an array of str.

        Raises:
            DatasetError: no such feature, or a file that is missing, damaged or not what info.json says.
        """
        unknown = [name for name in names if name not in self.info.features]
        if unknown:
            raise DatasetError(
                f"{self.folder}: has no feature {brief(unknown[0])}, only {', '.join(self.info.features)}"
            )
        counted = (layout.EPISODE, layout.FRAME)
        columns = [*dict.fromkeys((*names, *counted))]
        table = tables.read(episode.data, columns, episode.start, episode.start + episode.length)
        made: dict[str, NDArray[Any]] = {}
        for name in columns:
            feature = self.info.features[name]
            if feature.dtype == "string":
                made[name] = np.array(tables.texts(episode.data, name, table.column(name)), dtype=np.str_)
            else:
                made[name] = tables.numbers(episode.data, name, table.column(name), feature)
        numbers, frames = (made[name].reshape(-1) for name in counted)
        if (numbers != episode.index).any() or (frames != np.arange(episode.length)).any():
            raise DatasetError(
                f"{episode.data}: rows {episode.start} to {episode.start + episode.length} should be the frames of "
                "episode "
                f"{episode.index} in order, and are not"
            )
        return {name: made[name] for name in names}

    def pictures(self, episode: Episode, camera: str, rows: Sequence[int] | None = None) -> Iterator[NDArray[np.uint8]]:
        """Pictures uint8 (H, W, 3) rgb of an episode, one after the other; `rows`, ascending, are those that are
        wanted.

        Raises:
            DatasetError: no such camera, or a picture or film that is missing, damaged or of another size.
        """
        feature = self.info.features.get(camera)
        if feature is None or not feature.pictured:
            raise DatasetError(
                f"{self.folder}: has no camera {brief(camera)}, only {', '.join(self.info.cameras) or 'none'}"
            )
        wanted = np.arange(episode.length) if rows is None else np.asarray(rows, dtype=np.int64)
        if feature.dtype == "video":
            yield from self._film(episode, camera, feature, wanted)
        else:
            yield from self._embedded(episode, camera, feature, wanted)

    def _film(
        self, episode: Episode, camera: str, feature: Feature, rows: NDArray[np.int64]
    ) -> Iterator[NDArray[np.uint8]]:
        path, begin_s = episode.videos[camera]
        if not len(rows):
            return
        times_s = self.read(episode, [layout.TIMESTAMP])[layout.TIMESTAMP].reshape(-1)[rows].astype(np.float64)
        if not np.isfinite(times_s).all() or (np.diff(times_s) <= 0).any():
            raise DatasetError(f"{episode.data}: the time of episode {episode.index} does not go forward")
        yield from videos.read(path, begin_s + times_s, self.info.fps, *feature.shape[:2])

    def _embedded(
        self, episode: Episode, camera: str, feature: Feature, rows: NDArray[np.int64]
    ) -> Iterator[NDArray[np.uint8]]:
        table = tables.read(episode.data, [camera], episode.start, episode.start + episode.length)
        column = table.column(camera)
        if column.type != tables.IMAGE:
            raise DatasetError(
                f"{episode.data}: column {brief(camera)} holds {printable(column.type, 60)}, no pictures"
            )
        values = tables.listed(episode.data, camera, column)
        for row in rows:
            where = f"{episode.data}: {camera} of frame {row} of episode {episode.index}"
            data, name = values[row]["bytes"], values[row]["path"]
            if data is None:
                data = self._beside(where, name)
            try:
                yield pictures.decoded(data, *feature.shape[:2])
            except ValueError as error:
                raise DatasetError(f"{where} {error}") from error

    def _beside(self, where: str, name: Any) -> bytes:
        """A picture that is not in the parquet file, but in one of its own inside of the set."""
        path = (self.folder / str(name)).resolve()
        if not name or not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            raise DatasetError(f"{where} has no bytes, and {brief(name)} is no file of the set")
        return path.read_bytes()

    # The description.

    def _tasks(self) -> dict[int, str]:
        if self.info.version == layout.V2:
            rows: list[tuple[Any, Any]] = [
                (row.get(layout.TASK), row.get("task")) for row in read_lines(self.folder / layout.TASKS_V2)
            ]
        else:
            path = self.folder / layout.TASKS
            known = tables.names(path)
            text = next((name for name in ("task", "__index_level_0__") if name in known), "task")
            table = tables.read(path, [layout.TASK, text])
            numbers = tables.numbers(path, layout.TASK, table.column(layout.TASK), counters()[layout.TASK]).reshape(-1)
            rows = list(zip(numbers.tolist(), tables.texts(path, text, table.column(text)), strict=True))
        for number, task in rows:
            if not isinstance(number, int) or isinstance(number, bool) or not isinstance(task, str):
                raise DatasetError(
                    f"{self.folder}: its list of tasks has {brief((number, task))}, expected number and text"
                )
        if len(dict(rows)) != len(rows):
            raise DatasetError(f"{self.folder}: its list of tasks gives a number twice")
        return dict(rows)

    def _episodes_v3(self) -> Iterator[Episode]:
        films = [name for name, feature in self.info.features.items() if feature.dtype == "video"]
        columns = [
            "episode_index",
            "length",
            "data/chunk_index",
            "data/file_index",
            "dataset_from_index",
            "dataset_to_index",
        ]
        of_films = [
            f"videos/{name}/{what}" for name in films for what in ("chunk_index", "file_index", "from_timestamp")
        ]
        paths = sorted((self.folder / "meta/episodes").glob("*/*.parquet"))
        if not paths:
            raise DatasetError(f"{self.folder}: has no meta/episodes/*/*.parquet")
        filled_to: dict[str, int] = {}
        end = None
        for path in paths:
            table = tables.read(path, [*columns, *of_films, "tasks"])
            whole, seconds = Feature("int64", (1,)), Feature("float64", (1,))
            rows = {
                name: tables.numbers(
                    path, name, table.column(name), seconds if name.endswith("_timestamp") else whole
                ).reshape(-1)
                for name in (*columns, *of_films)
            }
            tasks = tables.listed(path, "tasks", table.column("tasks"))
            for row, texts in enumerate(tasks):
                value = {name: values[row].item() for name, values in rows.items()}
                index, length = value["episode_index"], value["length"]
                begin, stop = value["dataset_from_index"], value["dataset_to_index"]
                if not 0 < length <= LONGEST_EPISODE or stop - begin != length or (end is not None and begin != end):
                    raise DatasetError(
                        f"{path}: episode {index} has {length} frames, from {begin} to {stop}, behind {end}; that "
                        "does not fit"
                    )
                end = stop
                where = layout.filled(
                    self.info.data_path, chunk_index=value["data/chunk_index"], file_index=value["data/file_index"]
                )
                start = filled_to.get(where, 0)
                filled_to[where] = start + length
                yield Episode(
                    index, length, _texts(path, texts), self.folder / where, start,
                    {name: self._film_of(name, value) for name in films},
                )  # fmt: skip

    def _film_of(self, camera: str, value: Mapping[str, Any]) -> tuple[Path, float]:
        chunk, number, begin_s = (
            value[f"videos/{camera}/{what}"] for what in ("chunk_index", "file_index", "from_timestamp")
        )
        if not 0 <= begin_s < 1e9:
            raise DatasetError(f"{self.folder}: an episode begins {begin_s} s into the film of {camera}")
        path = layout.filled(self.info.video_path, video_key=camera, chunk_index=chunk, file_index=number)
        return self.folder / path, float(begin_s)

    def _episodes_v2(self) -> Iterator[Episode]:
        path = self.folder / layout.EPISODES_V2
        films = [name for name, feature in self.info.features.items() if feature.dtype == "video"]
        for row in read_lines(path):
            index, length = row.get("episode_index"), row.get("length")
            if (
                not isinstance(index, int)
                or not isinstance(length, int)
                or not 0 < length <= LONGEST_EPISODE
                or index < 0
            ):
                raise DatasetError(f"{path}: episode {brief(index)} has the length {brief(length)}")
            place: dict[str, int] = {"episode_chunk": index // self.info.chunk_size, "episode_index": index}
            yield Episode(
                index, length, _texts(path, row.get("tasks")), self.folder / layout.filled(self.info.data_path,
                **place), 0, {
                    name: (self.folder / layout.filled(self.info.video_path, video_key=name, **place), 0.0)
                    for name in films
                },
            )  # fmt: skip

    def _check_totals(self) -> None:
        if [episode.index for episode in self.episodes] != list(range(len(self.episodes))):
            raise DatasetError(f"{self.folder}: its episodes are not numbered from 0 in order")
        frames = sum(episode.length for episode in self.episodes)
        if (len(self.episodes), frames) != (self.info.episodes, self.info.frames):
            raise DatasetError(
                f"{self.folder}: {layout.INFO} says {self.info.episodes} episodes of {self.info.frames} frames, but "
                f"{len(self.episodes)} of {frames} are listed; it was cut off, or belongs to another set"
            )
        told: Counter[Path] = Counter()
        for episode in self.episodes:
            told[episode.data] += episode.length
        for path, there in sorted(told.items()):
            if path.is_file() and (rows := tables.row_count(path)) != there:
                raise DatasetError(f"{path}: has {rows} rows, but its episodes have {there}")


def _entry(folder: Path, more: list[dict[str, Any]], index: int) -> Mapping[str, Any]:
    if not more:
        return {}
    if index >= len(more) or more[index].get("episode_index") != index:
        raise DatasetError(f"{folder / layout.CARD_EPISODES}: has no line for episode {index}; the set was cut off")
    return more[index]


def _texts(path: Path, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DatasetError(f"{path}: the tasks of an episode are {brief(value)}, expected a list of text")
    return tuple(value)


def is_dataset(folder: Path) -> bool:
    """Whether a folder is a LeRobot dataset, or looks like one."""
    return (folder / layout.INFO).is_file()
