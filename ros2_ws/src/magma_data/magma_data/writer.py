"""Writes a LeRobot dataset of version 3.0, and goes on with one that was interrupted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from magma_contracts.text import brief
from magma_data import layout, pictures, statistics, tables, videos
from magma_data.errors import DatasetError
from magma_data.info import Feature, Info, counters
from magma_data.json_files import read_object, write_object, write_text
from magma_data.reader import Dataset, is_dataset

MIB = 1 << 20


class DatasetWriter:
    """A set that grows by whole episodes: what `flush` has written stays, whatever happens after it.

    Episodes are held until `flush`, or until a data file is full; each becomes one row group. A set that is there
    already is gone on with: its clock and features must be the same, and files of an episode that was not finished are
    removed.
    """

    def __init__(self, folder: Path, fps: float, features: Mapping[str, Feature], robot_type: str = "") -> None:
        """`features` are those of the frames without LeRobot's own counters. Raises DatasetError."""
        self.folder = folder
        self._features = {**features, **counters()}
        self._info = Info(layout.V3, fps, self._features, robot_type=robot_type)
        self._columns = {name: f for name, f in self._features.items() if f.dtype != "video"}
        self._schema = pa.schema(
            [pa.field(name, tables.arrow_type(feature)) for name, feature in self._columns.items()],
            metadata=tables.described(self._columns),
        )
        self._tasks: dict[str, int] = {}
        self._statistics: dict[str, statistics.Statistics] = {}
        self._waiting: list[pa.Table] = []
        self._rows: list[dict[str, Any]] = []
        self._lines: list[str] = []
        self._bytes = self._file = 0
        self.episodes = self.frames = 0
        if is_dataset(folder):
            self._go_on()

    def add(
        self,
        values: Mapping[str, NDArray[Any] | Iterable[pictures.Pixels]],
        task: str,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Takes in one episode: arrays (T, *shape) by feature, pictures uint8 (T, H, W, 3) rgb; its instruction; and
        what this project tells of it besides (JSON). `timestamp` may be left out: then it is that of the clock.

        Raises:
            DatasetError: a feature is missing or not known, or has another shape or dtype.
        """
        arrays = self._checked(values)
        length = len(next(iter(arrays.values())))
        number = self._tasks.setdefault(task, len(self._tasks))
        arrays.setdefault(layout.TIMESTAMP, (np.arange(length) / self._info.fps).astype(np.float32))
        arrays[layout.FRAME] = np.arange(length)
        arrays[layout.EPISODE] = np.full(length, self.episodes)
        arrays[layout.INDEX] = np.arange(self.frames, self.frames + length)
        arrays[layout.TASK] = np.full(length, number)
        of_episode = statistics.of_episode(arrays, self._features)
        row: dict[str, Any] = {
            "episode_index": self.episodes,
            "tasks": [task],
            "length": length,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
        }
        for name, feature in self._features.items():
            if feature.dtype == "video":
                row |= self._film(name, arrays[name])
        encoded = {
            name: [pictures.encoded(picture) for picture in arrays[name]] if feature.dtype == "image" else arrays[name]
            for name, feature in self._columns.items()
        }
        columns = [tables.column_of(encoded[name], feature) for name, feature in self._columns.items()]
        table = pa.Table.from_arrays(columns, schema=self._schema)
        if self._bytes and self._bytes + table.nbytes > layout.DATA_FILE_MB * MIB:
            self.flush()
        self._bytes += table.nbytes
        row |= {f"stats/{name}/{key}": value for name, one in of_episode.items() for key, value in one.items()}
        self._statistics = statistics.of_all([self._statistics, of_episode]) if self.episodes else of_episode
        self._waiting.append(table)
        self._rows.append(row)
        self._lines.append(json.dumps({"episode_index": self.episodes, **(more or {})}, ensure_ascii=False) + "\n")
        self.episodes += 1
        self.frames += length

    def flush(self, card: Mapping[str, Any] | None = None) -> None:
        """Writes what is held, and the data card if one is given. meta/info.json comes last: what it does not count is
        not there."""
        if card is not None:
            write_object(self.folder / layout.CARD, card)
        if self._waiting:
            place = {"chunk_index": self._file // layout.CHUNK_SIZE, "file_index": self._file % layout.CHUNK_SIZE}
            for row in self._rows:
                for what in ("data", "meta/episodes"):
                    row |= {f"{what}/{name}": value for name, value in place.items()}
            tables.write(self.folder / layout.DATA.format(**place), self._waiting, self._schema)
            episodes = self._episodes_table()
            tables.write(self.folder / layout.EPISODES.format(**place), [episodes], episodes.schema)
            self._append_lines()
            self._file += 1
            self._waiting, self._rows, self._lines, self._bytes = [], [], [], 0
        tasks = _tasks_table(self._tasks)
        tables.write(self.folder / layout.TASKS, [tasks], tasks.schema)
        write_object(self.folder / layout.STATS, statistics.as_json(self._statistics))
        info = self._info
        Info(
            info.version, info.fps, info.features, self.episodes, self.frames, len(self._tasks), info.robot_type
        ).write(self.folder)  # fmt: skip

    def _checked(self, values: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        wanted = set(self._features) - set(counters())
        if set(values) - {layout.TIMESTAMP} != wanted:
            strange = sorted(set(values) ^ wanted)
            raise DatasetError(
                f"{self.folder}: an episode has the features {', '.join(wanted)}, not {', '.join(strange)}"
            )
        arrays: dict[str, NDArray[Any]] = {}
        for name in [*wanted, *({layout.TIMESTAMP} & set(values))]:
            feature = self._features[name]
            array = values[name]
            if not isinstance(array, np.ndarray):
                array = np.stack([*array]) if feature.pictured else np.asarray(array)
            if feature.dtype != "string":
                array = array.astype(np.uint8 if feature.pictured else feature.dtype, casting="same_kind")
            if feature.shape == (1,):
                array = array.reshape(-1)
            shape = array.shape[1:] or (1,)
            if shape != feature.shape:
                raise DatasetError(
                    f"{self.folder}: {brief(name)} has frames of shape {shape}, expected {feature.shape}"
                )
            arrays[name] = array
        lengths = {len(array) for array in arrays.values()}
        if len(lengths) != 1 or 0 in lengths:
            raise DatasetError(
                f"{self.folder}: an episode's features have {sorted(lengths)} frames, expected one number"
            )
        return arrays

    def _film(self, camera: str, frames: NDArray[np.uint8]) -> dict[str, Any]:
        """One film for each episode."""
        place = {"chunk_index": self.episodes // layout.CHUNK_SIZE, "file_index": self.episodes % layout.CHUNK_SIZE}
        videos.write(self.folder / layout.VIDEO.format(video_key=camera, **place), frames, self._info.fps)
        times = {"from_timestamp": 0.0, "to_timestamp": len(frames) / self._info.fps}
        return {f"videos/{camera}/{name}": value for name, value in {**place, **times}.items()}

    def _episodes_table(self) -> pa.Table:
        columns: dict[str, pa.Array] = {}
        for name in self._rows[0]:
            values = [row[name] for row in self._rows]
            first = values[0]
            if isinstance(first, np.ndarray):
                values = [value.tolist() for value in values]
                kind = pa.int64() if first.dtype.kind == "i" else pa.float64()
                for _ in range(first.ndim):
                    kind = pa.list_(kind)
                columns[name] = pa.array(values, type=kind)
            else:
                columns[name] = pa.array(values)
        return pa.table(columns)

    def _append_lines(self) -> None:
        path = self.folder / layout.CARD_EPISODES
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(self._lines)
            file.flush()
            os.fsync(file.fileno())

    # Going on.

    def _go_on(self) -> None:
        """Takes up a set where it stands."""
        remove_unfinished(self.folder)
        there = Dataset(self.folder)
        if there.info.version != layout.V3:
            raise DatasetError(
                f"{self.folder}: is of version {there.info.version}; magma-data convert makes a new set of it"
            )
        different = {
            name
            for name in {*there.info.features, *self._features}
            if there.info.features.get(name) != self._features.get(name)
        }
        if different or there.info.fps != self._info.fps:
            raise DatasetError(
                f"{self.folder}: holds episodes at {there.info.fps:g} frames per second with other features "
                f"({', '.join(sorted(different)) or 'none'}); choose another folder"
            )
        self._tasks = {task: number for number, task in sorted(there.tasks.items())}
        self.episodes, self.frames = there.info.episodes, there.info.frames
        self._file = len({episode.data for episode in there.episodes})
        self._statistics = _read_statistics(there)


def remove_unfinished(folder: Path) -> None:
    """Removes what a killed program left of episodes that info.json does not count. Raises DatasetError."""
    counted = Info.read(folder).episodes
    lines = folder / layout.CARD_EPISODES
    if lines.is_file():
        kept = lines.read_bytes().splitlines(keepends=True)[:counted]
        write_text(lines, b"".join(kept).decode("utf-8", errors="replace"))
    home = folder / "meta/episodes"
    for path in sorted(home.glob("*/*.parquet")):
        if tables.read(path, ["episode_index"]).column(0)[0].as_py() >= counted:
            path.unlink()
    named = {path.relative_to(home) for path in home.glob("*/*.parquet")}
    for path in folder.glob("data/*/*.parquet"):
        if path.relative_to(folder / "data") not in named:
            path.unlink()


def _read_statistics(dataset: Dataset) -> dict[str, statistics.Statistics]:
    data = read_object(dataset.folder / layout.STATS)
    try:
        return {name: {key: np.array(value) for key, value in one.items()} for name, one in data.items()}
    except (AttributeError, ValueError) as error:
        raise DatasetError(
            f"{dataset.folder / layout.STATS}: holds no statistics; remove the set, or write a new one"
        ) from error


def _tasks_table(tasks: Mapping[str, int]) -> pa.Table:
    """With the metadata by which pandas takes the texts for the index, as lerobot looks tasks up."""
    columns = [("task_index", "int64", "int64"), ("task", "unicode", "object")]
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": held, "metadata": None}
            for name, kind, held in columns
        ],
        "pandas_version": "2.2.3",
    }
    table = pa.table({"task_index": pa.array([*tasks.values()], pa.int64()), "task": pa.array([*tasks], pa.string())})
    return table.replace_schema_metadata({b"pandas": json.dumps(pandas).encode()})
