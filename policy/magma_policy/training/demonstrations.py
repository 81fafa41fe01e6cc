"""Reader of demonstration sets: a data card and one .npz per episode (numpy arrays only, never pickle)."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from magma_policy import robots
from magma_policy.config import CameraCalibration, ConfigError
from magma_policy.state import GRIPPER_TARGET
from magma_policy.text import printable
from magma_policy.training.episode_file import DemonstrationError, fingerprint, read_episode, unteachable

CARD = "card.json"
EPISODES = "episodes"
LARGEST_CARD = 1 << 24
"""Bytes. A card is a page of text."""
LARGEST_SIDE = 8192
"""Pixels of a frame."""
MOST_TOLD = 50
"""Problems that are listed one by one."""


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
            if path.stat().st_size > LARGEST_CARD:
                raise ValueError(f"larger than {LARGEST_CARD >> 20} MiB")
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
            if not isinstance(data, dict):
                raise ValueError("expected an object")
            size = data["image_size"]
            height, width = size if isinstance(size, list) else (size, size)
            name = data.get("robot", "")
            return cls(
                robot=robots.check_name(name) if name != "" else "",
                intrinsics=_intrinsics(data["camera_intrinsics"]),
                extrinsics=_extrinsics(data["camera_extrinsics_base_to_optical"]),
                image_height=_side(height),
                image_width=_side(width),
                table_height_m=_number("table_height_m", data["table_height_m"], -100.0, 100.0),
                step_period_s=_number("step_period_s", data["step_period_s"], 1e-3, 60.0),
                objects={str(known): _words(known, words) for known, words in data.get("objects", {}).items()},
            )
        except json.JSONDecodeError as error:
            raise DemonstrationError(f"{path}: not valid JSON ({printable(error)})") from error
        except UnicodeDecodeError as error:
            raise DemonstrationError(f"{path}: not UTF-8 ({printable(error)}); save it as such") from error
        except KeyError as error:
            raise DemonstrationError(f"{path}: lacks {printable(error)}") from error
        except (ConfigError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, OSError) as error:
            raise DemonstrationError(f"{path}: {printable(error)}") from error

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


def _matrix(name: str, rows: Any, size: int) -> np.ndarray:
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be {size}x{size} finite numbers, got shape {matrix.shape}")
    return matrix


def _intrinsics(rows: Any) -> tuple[tuple[float, ...], ...]:
    matrix = _matrix("camera_intrinsics", rows, 3)
    if min(matrix[0, 0], matrix[1, 1]) <= 0 or not np.allclose(matrix[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
        raise ValueError(f"camera_intrinsics must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]], got {matrix.tolist()}")
    return tuple(map(tuple, matrix.tolist()))


def _extrinsics(rows: Any) -> tuple[tuple[float, ...], ...]:
    matrix = _matrix("camera_extrinsics_base_to_optical", rows, 4)
    rotation = matrix[:3, :3]
    if not (
        np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2)
        and np.linalg.det(rotation) > 0
        and np.allclose(matrix[3], [0, 0, 0, 1])
    ):
        raise ValueError(
            f"camera_extrinsics_base_to_optical must be a rotation and a shift (m) above 0 0 0 1, got {matrix.tolist()}"
        )
    return tuple(map(tuple, matrix.tolist()))


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, got {str(value)[:80]}")
    return float(value)


def _side(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= LARGEST_SIDE or value % 1:
        raise ValueError(f"image_size must be whole pixels from 1 to {LARGEST_SIDE}, got {str(value)[:80]}")
    return int(value)


def _words(name: str, words: Any) -> ObjectWords:
    made = ObjectWords(**words)
    if not all(isinstance(word, str) and word.strip() for word in (made.noun, made.colour)):
        raise ValueError(f"object {name[:80]!r} needs a noun and a colour, got {made}")
    return made


@dataclass(frozen=True)
class Demonstrations:
    """All steps of many episodes of one or several robots, concatenated.

    frames uint8 (F, H, W, 3); frame_index int64 (N,) is a step's row in `frames`, -1 without a picture;
    proprioception float32 (N, 16); actions float32 (N, 7), the expert's clean deltas; marks float32 (N, K, 2) as
    fractions (x, y) of the picture, NaN where unknown; instruction int64 (N,) indexes `instructions`, robot int64 (N,)
    `cards`, one per robot; episode int64 (N,); last_row int64 (N,) is the row of the episode's last step; onset bool
    (N,) marks steps near a commanded change of the gripper; weight float32 (N,) is what a step counts.
    `episode_names` are the file names and `objects` the names of the objects, per episode; object_marks float32
    (N, M, 2) are the objects' origins as `marks`, NaN beyond an episode's own number. `identity` is a hash of cards and
    episodes: other contents have another one.
    """

    cards: tuple[DataCard, ...]
    identity: str
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
    flips = np.abs(actions[:, -1] - proprioception[:, GRIPPER_TARGET][:, 0]) > 0.5
    near = np.zeros(len(flips), dtype=bool)
    for step in np.flatnonzero(flips):
        near[max(0, step - before) : step + after + 1] = True
    return near


def is_held_out(name: str, every: int) -> bool:
    """Whether an episode file belongs to the held-out share of 1/`every`; decided by its name alone, so that a growing
    set never moves an episode from one side to the other."""
    return zlib.crc32(name.encode("utf-8")) % every == 0


def held_out(demos: Demonstrations, every: int) -> np.ndarray:
    """bool (E,): which episodes are held out (`is_held_out`), but for tasks of a robot that would not be taught at all,
    or not with pictures: of these none is."""
    by_name = np.array([is_held_out(name, every) for name in demos.episode_names])
    first = np.searchsorted(demos.episode, np.arange(len(by_name)))
    pictured = demos.frame_index[first] >= 0
    groups = np.stack([demos.robot[first], demos.instruction[first], pictured], axis=1)
    _, group = np.unique(groups, axis=0, return_inverse=True)
    taught = np.bincount(group.reshape(-1), weights=~by_name)
    return by_name & (taught[group.reshape(-1)] > 0)


def held_out_text(demos: Demonstrations, every: int) -> str:
    """Which share is held out, and of which tasks it is none because they would not be taught otherwise; a sentence."""
    held = held_out(demos, every)
    named = np.array([is_held_out(name, every) for name in demos.episode_names])
    first = np.searchsorted(demos.episode, np.flatnonzero(named & ~held))
    spared = sorted({demos.instructions[number] for number in demos.instruction[first]})
    text = f"{int(held.sum())} of {len(held)} episodes held out for validation"
    return text + (f"; none of {', '.join(map(repr, spared))}, which have none to spare" if spared else "")


def list_episodes(directory: Path) -> list[Path]:
    """Every episode file, ordered by name; DemonstrationError when there is none."""
    paths = sorted((directory / EPISODES).glob("*.npz"))
    if not paths:
        raise DemonstrationError(f"no episodes (*.npz) under {directory / EPISODES}")
    return paths


def read_demonstrations(directories: Sequence[Path]) -> Demonstrations:
    """Read sets; those of one robot must share its camera, table and clock.

    Everything is read and checked before anything is used. Raises DemonstrationError with every problem, its file and
    step.
    """
    problems: list[str] = []
    cards, jobs = _read_cards(directories, problems)
    columns = _Columns()
    seen: dict[tuple[int, bytes], Path] = {}
    for robot, card, path in tqdm(jobs, desc="reading demonstrations", unit="episode", mininterval=2.0):
        try:
            data = read_episode(path)
        except DemonstrationError as error:
            problems.append(str(error))
            continue
        found = list(unteachable(data, card.image_height, card.image_width, columns.marks or data["marks"].shape[1]))
        twin = seen.setdefault((robot, fingerprint(data)), path)
        if twin is not path:
            found.append(f"is the same episode as {twin}; list each once, and let `weights` say what counts more")
        if found:
            problems.append(f"{path}: {'; '.join(found)}")
        else:
            columns.add(robot, card, path.name, data)
    if problems:
        raise DemonstrationError(_told(problems))
    contents = [repr(cards).encode(), *(str(robot).encode() + content for robot, content in seen)]
    return columns.joined(cards, hashlib.sha256(b"".join(contents)).hexdigest()[:12])


def _told(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    lines = [f"{len(problems)} problems in the demonstrations, nothing was trained:", *problems[:MOST_TOLD]]
    if len(problems) > MOST_TOLD:
        lines.append(f"and {len(problems) - MOST_TOLD} more")
    return "\n  ".join(lines)


def _read_cards(
    directories: Sequence[Path], problems: list[str]
) -> tuple[list[DataCard], list[tuple[int, DataCard, Path]]]:
    """The robots' cards in order, and every episode with its robot's number and its own set's card; adds to
    `problems`."""
    cards: dict[str, tuple[int, DataCard, Path]] = {}
    jobs: list[tuple[int, DataCard, Path]] = []
    for directory in directories:
        try:
            card = DataCard.read(directory)
            episodes = list_episodes(directory)
        except DemonstrationError as error:
            problems.append(str(error))
            continue
        number, first, where = cards.setdefault(card.robot, (len(cards), card, directory))
        if not card.fits(first):
            problems.append(
                f"{directory}: its camera, table or clock differs from {where}; another set-up of a robot needs "
                f"another name than {card.robot!r} in the card"
            )
        if number and not card.robot and directory == where:
            problems.append(f"{directory}: its card names no robot, but other sets have other robots; give it a name")
        jobs += [(number, card, path) for path in episodes]
    known = [card for _, card, _ in cards.values()]
    sizes = {(card.image_height, card.image_width) for card in known}
    if len(sizes) > 1:
        problems.append(f"the sets have frames of different sizes {sorted(sizes)}; a run takes one")
    return known, jobs


class _Columns:
    """Episodes on their way into one `Demonstrations`."""

    def __init__(self) -> None:
        self.marks = 0
        self._parts: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
        self._instructions: dict[str, int] = {}
        self._names: list[str] = []
        self._objects: list[tuple[str, ...]] = []
        self._rows = self._frames = 0

    def add(self, robot: int, card: DataCard, name: str, data: dict[str, np.ndarray]) -> None:
        """Takes in one episode, which was checked."""
        parts = self._parts
        steps = len(data["actions"])
        text = str(data["instruction"]).strip()
        self.marks = data["marks"].shape[1]
        self._rows += steps
        parts["proprioception"].append(data["proprioception"].astype(np.float32))
        parts["actions"].append(data["actions"].astype(np.float32))
        parts["marks"].append((data["marks"] / card.width_height).astype(np.float32))
        parts["instruction"].append(np.full(steps, self._instructions.setdefault(text, len(self._instructions))))
        parts["robot"].append(np.full(steps, robot))
        parts["episode"].append(np.full(steps, len(self._names)))
        parts["last_row"].append(np.full(steps, self._rows - 1))
        parts["onset"].append(gripper_onsets(data["actions"], data["proprioception"]))
        parts["weight"].append(data.get("weights", np.ones(steps)).astype(np.float32))
        parts["object_marks"].append(
            _project(data["object_positions"], card)
            if "object_positions" in data
            else np.zeros((steps, 0, 2), dtype=np.float32)
        )
        self._names.append(name)
        self._objects.append(tuple(str(known) for known in data.get("object_names", ())))
        if "frames" in data:
            parts["frames"].append(data["frames"])
            parts["frame_index"].append(np.arange(self._frames, self._frames + steps))
            self._frames += steps
        else:
            parts["frame_index"].append(np.full(steps, -1))

    def joined(self, cards: Sequence[DataCard], identity: str) -> Demonstrations:
        """All of them, in the order in which they came."""
        parts = self._parts
        most = max(len(one) for one in self._objects)
        parts["object_marks"] = [
            np.pad(one, ((0, 0), (0, most - one.shape[1]), (0, 0)), constant_values=np.nan)
            for one in parts["object_marks"]
        ]
        if not parts["frames"]:
            parts["frames"].append(np.zeros((0, cards[0].image_height, cards[0].image_width, 3), dtype=np.uint8))
        return Demonstrations(
            cards=tuple(cards),
            identity=identity,
            instructions=tuple(self._instructions),
            episode_names=tuple(self._names),
            objects=tuple(self._objects),
            **{name: np.concatenate(arrays) for name, arrays in parts.items()},
        )


_COLUMNS = (
    "frames", "frame_index", "proprioception", "actions", "marks", "instruction", "robot", "episode", "last_row",
    "onset", "weight", "object_marks",
)  # fmt: skip


def _project(points: np.ndarray, card: DataCard) -> np.ndarray:
    """Points (T, N, 3) of the base frame, m, to fractions (T, N, 2) of the card's picture, float32; NaN behind the
    camera."""
    extrinsics = np.array(card.extrinsics)
    pixels = (points @ extrinsics[:3, :3].T + extrinsics[:3, 3]) @ np.array(card.intrinsics).T
    depth = np.where(pixels[..., 2:] > 0, pixels[..., 2:], np.nan)
    fractions: np.ndarray = pixels[..., :2] / depth / card.width_height
    return fractions.astype(np.float32)
