"""meta/info.json: the version, the clock and the features of a dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magma_contracts.text import brief, printable
from magma_data import layout
from magma_data.errors import DatasetError
from magma_data.json_files import read_object, write_object

DTYPES = frozenset(
    {"float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
)
PICTURES = ("image", "video")
MOST = 1 << 40
"""Of episodes, frames and numbers of files: what is more is no count."""
LARGEST_SIDE = 1 << 15


@dataclass(frozen=True)
class Feature:
    """One feature of every frame: `dtype` a numpy name, "string", "image" or "video"; `shape` without time, (H, W, 3)
    of pictures; `names` of its numbers, None where nobody named them."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None

    @property
    def pictured(self) -> bool:
        """Whether it is a camera's picture, in parquet or in a film."""
        return self.dtype in PICTURES

    def as_json(self) -> dict[str, Any]:
        """As it stands in info.json."""
        return {"dtype": self.dtype, "shape": list(self.shape), "names": None if self.names is None else [*self.names]}


def counters() -> dict[str, Feature]:
    """The features that every dataset has: time (s since the episode began), and what counts."""
    named = {layout.TIMESTAMP: "float32"} | dict.fromkeys(
        (layout.FRAME, layout.EPISODE, layout.INDEX, layout.TASK), "int64"
    )
    return {name: Feature(dtype, (1,)) for name, dtype in named.items()}


@dataclass(frozen=True)
class Info:
    """What info.json says; entries that this program does not know are left alone."""

    version: str
    fps: float
    features: Mapping[str, Feature]
    episodes: int = 0
    frames: int = 0
    tasks: int = 0
    robot_type: str = ""
    data_path: str = layout.DATA
    video_path: str = layout.VIDEO
    chunk_size: int = layout.CHUNK_SIZE

    @property
    def cameras(self) -> tuple[str, ...]:
        """The features that are pictures."""
        return tuple(name for name, feature in self.features.items() if feature.pictured)

    @classmethod
    def read(cls, folder: Path) -> Info:
        """Reads FOLDER/meta/info.json. Raises DatasetError, which names the entry."""
        path = folder / layout.INFO
        data = read_object(path)
        try:
            return cls._of(data)
        except (ValueError, TypeError, KeyError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{path}: {printable(what)}") from error

    @classmethod
    def _of(cls, data: dict[str, Any]) -> Info:
        version = data.get("codebase_version")
        if version not in layout.VERSIONS:
            raise ValueError(
                f"codebase_version is {brief(version)}, read are {' and '.join(layout.VERSIONS)}; lerobot's own "
                "converters "
                "bring older sets to these"
            )
        fps = data["fps"]
        if isinstance(fps, bool) or not isinstance(fps, int | float) or not 1e-3 <= fps <= 1e4:
            raise ValueError(f"fps must be a number from 0.001 to 10000, got {brief(fps)}")
        features = data["features"]
        if not isinstance(features, dict) or not features:
            raise ValueError("features must be an object that names them")
        known = {_name(name): _feature(name, value) for name, value in features.items()}
        for name, wanted in counters().items():
            if name not in known:
                raise ValueError(f"features lack {name}")
            if math.prod(known[name].shape) != 1 or known[name].dtype[0] != wanted.dtype[0]:
                raise ValueError(f"feature {name} must be one {wanted.dtype}")
        new = version == layout.V3
        robot = data.get("robot_type")
        return cls(
            version=version,
            fps=float(fps),
            features=known,
            episodes=_count(data, "total_episodes"),
            frames=_count(data, "total_frames"),
            tasks=_count(data, "total_tasks"),
            robot_type=robot if isinstance(robot, str) else "",
            data_path=_text(data, "data_path", layout.DATA if new else layout.DATA_V2),
            video_path=_text(data, "video_path", layout.VIDEO if new else layout.VIDEO_V2),
            chunk_size=max(1, _count(data, "chunks_size", layout.CHUNK_SIZE)),
        )

    def write(self, folder: Path) -> None:
        """Writes FOLDER/meta/info.json, of version 3.0, whole or not at all."""
        films = any(feature.dtype == "video" for feature in self.features.values())
        whole = int(self.fps) == self.fps
        data = {
            "codebase_version": layout.V3,
            "robot_type": self.robot_type or None,
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": self.tasks,
            "chunks_size": self.chunk_size,
            "data_files_size_in_mb": layout.DATA_FILE_MB,
            "video_files_size_in_mb": layout.VIDEO_FILE_MB,
            "fps": int(self.fps) if whole else self.fps,
            "splits": {"train": f"0:{self.episodes}"},
            "data_path": layout.DATA,
            "video_path": layout.VIDEO if films else None,
            "features": {name: feature.as_json() for name, feature in self.features.items()},
        }
        write_object(folder / layout.INFO, data)


def _name(name: str) -> str:
    if not name or len(name) > 200 or not name.isprintable() or "/" in name or "\\" in name or name in (".", ".."):
        raise ValueError(f"{brief(name)} is no name of a feature")
    return name


def _feature(name: str, value: Any) -> Feature:
    if not isinstance(value, dict):
        raise ValueError(f"feature {brief(name)} must be an object")
    dtype, shape = value.get("dtype"), value.get("shape")
    if dtype not in DTYPES and dtype not in (*PICTURES, "string"):
        raise ValueError(f"feature {brief(name)} has the dtype {brief(dtype)}, which is not known")
    if not isinstance(shape, list) or not all(_whole(side, LARGEST_SIDE) for side in shape) or len(shape) > 5:
        raise ValueError(f"feature {brief(name)} has the shape {brief(shape)}, expected a list of whole numbers")
    if math.prod(shape) > 1 << 28:
        raise ValueError(f"feature {brief(name)} has the shape {shape}, too large")
    if dtype in PICTURES:
        shape = _picture_shape(name, shape, value.get("names"))
    return Feature(dtype, tuple(shape), _names(value.get("names")))


def _picture_shape(name: str, shape: list[int], names: Any) -> list[int]:
    """(H, W, C); older sets also have (C, H, W), which their names tell."""
    if (len(shape) == 3 and isinstance(names, list) and str(names[:1]).startswith("['channel")) or (
        len(shape) == 3 and shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4)
    ):
        shape = [*shape[1:], shape[0]]
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"feature {brief(name)} has the shape {shape}, expected [height, width, channels]")
    return shape


def _names(value: Any) -> tuple[str, ...] | None:
    """Names are a list, or an object that has one."""
    if isinstance(value, dict):
        lists = [entry for entry in value.values() if isinstance(entry, list)]
        value = lists[0] if len(lists) == 1 else [*value]
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return tuple(value)
    return None


def _whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _count(data: dict[str, Any], name: str, default: int = 0) -> int:
    value = data.get(name, default)
    if not _whole(value, MOST):
        raise ValueError(f"{name} must be a whole number, got {brief(value)}")
    return int(value)


def _text(data: dict[str, Any], name: str, default: str) -> str:
    value = data.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be text, got {brief(value)}")
    return value
