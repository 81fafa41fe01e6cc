"""Reads sets of scenes (`magma_contracts.scenes`), and what of a scene is told in words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from magma_contracts.errors import ConfigError
from magma_contracts.scenes import CARD, CLICKS, FORMAT_VERSION, SCENES, SHAPES, Split
from magma_contracts.text import printable
from magma_policy.files.array_files import ArrayFileError, read_arrays
from magma_policy.files.json_files import read_object
from magma_policy.grounding.expressions import PLACES, Thing


class SceneError(ValueError):
    """A set of scenes is missing, malformed or for something else."""


@dataclass(frozen=True)
class Scene:
    """What stands in one picture.

    Attributes:
        things: those that are seen.
        clicks: (things, CLICKS, 2) points of each.
        hidden: kinds and colours that stand there and are not seen: neither there nor absent.
    """

    things: tuple[Thing, ...]
    clicks: np.ndarray
    hidden: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Scenes:
    """Sets of scenes.

    Attributes:
        images: (S, H, W, 3) uint8.
        scenes: what stands in each.
        source: (S,) number of the set of each.
        identity: tells other contents apart.
    """

    images: np.ndarray
    scenes: tuple[Scene, ...]
    source: np.ndarray
    identity: str

    def __len__(self) -> int:
        return len(self.scenes)

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """Every kind with every colour it has in these scenes, sorted."""
        seen = {(thing.kind, thing.colour) for scene in self.scenes for thing in scene.things}
        return tuple(sorted(seen))


def read_scenes(folders: Sequence[Path], split: Split) -> Scenes:
    """All scenes of some folders. Raises SceneError."""
    images, scenes, sources = [], [], []
    digest = hashlib.blake2b(digest_size=8)
    for number, folder in enumerate(folders):
        for path in _files(folder, split):
            data = _read(path)
            images.append(data["images"])
            found = _scenes(data)
            scenes += found
            sources += [number] * len(found)
            for name in SHAPES:
                digest.update(np.ascontiguousarray(data[name]).tobytes())
    if len({part.shape[1:] for part in images}) > 1:
        raise SceneError("the sets have pictures of different sizes; train on one size at a time")
    return Scenes(np.concatenate(images), tuple(scenes), np.array(sources), digest.hexdigest())


def check_scenes(folders: Sequence[Path], split: Split) -> None:
    """SceneError when a folder is no set of scenes of that split; reads no scene."""
    for folder in folders:
        _files(folder, split)


def scene_files(folder: Path) -> list[Path]:
    """The files of a set of scenes of any split, in order; none where the folder is no such set."""
    return sorted((folder / SCENES).glob("*.npz")) if (folder / CARD).is_file() else []


def read_scene_file(path: Path) -> tuple[np.ndarray, list[Scene]]:
    """The pictures (S, H, W, 3) of one file of a set, and what stands in each. Raises SceneError."""
    data = _read(path)
    return data["images"], _scenes(data)


def _files(folder: Path, split: Split) -> list[Path]:
    _check_card(folder, split)
    files = sorted((folder / SCENES).glob("*.npz"))
    if not files:
        raise SceneError(f"{folder}: no scenes in it; make some with magma-scenes --out {folder}")
    return files


def _check_card(folder: Path, split: Split) -> None:
    path = folder / CARD
    if not path.exists():
        raise SceneError(f"{folder}: no set of scenes, it has no {CARD}; make one with magma-scenes")
    try:
        card = read_object(path)
    except ConfigError as error:
        raise SceneError(f"{path}: cannot be read ({printable(error)})") from error
    if card.get("format_version") != FORMAT_VERSION:
        raise SceneError(f"{path}: format_version {printable(card.get('format_version'), 40)} is not {FORMAT_VERSION}")
    if card.get("split") != split:
        raise SceneError(f"{folder} holds scenes for {printable(card.get('split'), 40)}, not for {split}")


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        data = read_arrays(path, tuple(SHAPES))
    except ArrayFileError as error:
        raise SceneError(str(error)) from error
    missing = [name for name in SHAPES if name not in data]
    if missing:
        raise SceneError(f"{path}: has no {', '.join(missing)}")
    images, things = data["images"], len(data["scene"])
    shapes = {"kind": (things,), "colour": (things,), "box": (things, 4), "clicks": (things, CLICKS, 2)}
    kinds = {"scene": "iu", "kind": "U", "colour": "U", "box": "f", "clicks": "f"}
    # Of nothing numpy does not know the type.
    wrong = [name for name, kind in kinds.items() if data[name].size and data[name].dtype.kind not in kind]
    wrong += [name for name, shape in shapes.items() if data[name].shape != shape and name not in wrong]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        wrong.append("images")
    if wrong:
        raise SceneError(f"{path}: {', '.join(wrong)} of another shape or type than the format says")
    if things and not (data["scene"].min() >= 0 and data["scene"].max() < len(images)):
        raise SceneError(f"{path}: things of scenes that are not in it")
    boxes = data["box"][~np.isnan(data["box"]).any(axis=1)]
    if not ((boxes >= 0) & (boxes <= 1)).all() or not (boxes[:, :2] < boxes[:, 2:]).all():
        raise SceneError(f"{path}: boxes that are none within the picture")
    return data


def _scenes(data: dict[str, np.ndarray]) -> list[Scene]:
    members: list[list[int]] = [[] for _ in range(len(data["images"]))]
    for index, scene in enumerate(data["scene"].tolist()):
        members[scene].append(index)
    return [_scene(data, rows) for rows in members]


def _scene(data: dict[str, np.ndarray], rows: list[int]) -> Scene:
    names = [(str(data["kind"][row]), str(data["colour"][row])) for row in rows]
    seen = [not np.isnan(data["box"][row]).any() for row in rows]
    things = tuple(
        Thing(kind, colour, tuple(float(v) for v in data["box"][row]))  # type: ignore[arg-type]
        for (kind, colour), row, shown in zip(names, rows, seen, strict=True)
        if shown
    )
    clicks = data["clicks"][[row for row, shown in zip(rows, seen, strict=True) if shown]].reshape(-1, CLICKS, 2)
    hidden = frozenset(name for name, shown in zip(names, seen, strict=True) if not shown)
    return Scene(things, clicks, hidden)


def absent_phrase(
    scene: Scene, names: Sequence[tuple[str, str]], rng: np.random.Generator, near_share: float = 0.5
) -> str | None:
    """An expression for something of `names` (kind, colour) that is not in a scene; in `near_share` of them its kind
    is, in another colour. None when everything is there."""
    there = {(thing.kind, thing.colour) for thing in scene.things} | scene.hidden
    kinds = {kind for kind, _ in there}
    absent = [name for name in names if name not in there]
    near = [name for name in absent if name[0] in kinds]
    chosen = near if near and rng.random() < near_share else absent
    if not chosen:
        return None
    kind, colour = chosen[int(rng.integers(len(chosen)))]
    noun = f"{colour} {kind}" if kind in kinds or rng.random() < 0.3 else kind
    place = f" {list(PLACES)[int(rng.integers(len(PLACES)))]}" if rng.random() < 0.2 else ""
    return f"the {noun}{place}"
