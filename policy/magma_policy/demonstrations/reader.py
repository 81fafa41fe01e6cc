"""Reader of demonstration sets: all steps of all episodes, checked before any is used."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from magma_contracts.arm_state import GRIPPER_TARGET
from magma_contracts.camera import project
from magma_policy.demonstrations.data_card import DataCard
from magma_policy.demonstrations.episode_file import DemonstrationError, fingerprint, unteachable
from magma_policy.demonstrations.frame_store import FrameStore
from magma_policy.demonstrations.mapping import Mapping
from magma_policy.demonstrations.sources import Source, open_set

MOST_TOLD = 50
"""Problems that are listed one by one."""


@dataclass(frozen=True)
class Demonstrations:
    """All steps of many episodes of one or several robots, concatenated.

    frames uint8 (F, H, W, 3); frame_index int64 (N,) is a step's row in `frames`, -1 without an image;
    proprioception float32 (N, 16); actions float32 (N, 7), the expert's clean deltas; marks float32 (N, K, 2) as
    fractions (x, y) of the image, NaN where unknown; instruction int64 (N,) indexes `instructions`, robot int64 (N,)
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
    """Whether an episode belongs to the held-out share of 1/`every`; decided by its name alone, so that a growing
    set never moves an episode from one side to the other."""
    # As when every episode was a file of this kind: a set that is converted keeps its share.
    file = name if name.endswith(".npz") else f"{name}.npz"
    return zlib.crc32(file.encode("utf-8")) % every == 0


def held_out(demos: Demonstrations, every: int) -> np.ndarray:
    """bool (E,): which episodes are held out (`is_held_out`), but for tasks of a robot that would not be taught at all,
    or not with images: of these none is."""
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


def read_demonstrations(
    directories: Sequence[Path],
    mappings: Sequence[Mapping] = (),
    memory_bytes: float = math.inf,
    folder: Path | None = None,
) -> Demonstrations:
    """Read sets of any kind that `open_set` knows; those of one robot must share its camera, table and clock.

    Everything is read and checked before anything is used, episode by episode; frames beyond `memory_bytes` go to a
    file in `folder`. Raises DemonstrationError with every problem, its file and step.
    """
    problems: list[str] = []
    cards, jobs = _read_cards(directories, mappings, problems)
    columns = _Columns(FrameStore(memory_bytes, folder))
    seen: dict[tuple[int, bytes], str] = {}
    for robot, card, source in tqdm(jobs, desc="reading demonstrations", unit="episode", mininterval=2.0):
        try:
            data = source.read()
        except DemonstrationError as error:
            problems.append(str(error))
            continue
        found = list(unteachable(data, card.image_height, card.image_width, columns.marks or data["marks"].shape[1]))
        twin = seen.setdefault((robot, fingerprint(data)), source.where)
        if twin is not source.where:
            found.append(f"is the same episode as {twin}; list each once, and let `weights` say what counts more")
        if found:
            problems.append(f"{source.where}: {'; '.join(found)}")
        else:
            columns.add(robot, card, source.name, data)
    if problems:
        raise DemonstrationError(_told(problems))
    contents = [repr(cards).encode(), *(str(robot).encode() + content for robot, content in seen)]
    return columns.joined(cards, hashlib.sha256(b"".join(contents)).hexdigest()[:12])


def check_demonstrations(directories: Sequence[Path], mappings: Sequence[Mapping] = ()) -> None:
    """DemonstrationError when sets are missing, or do not go together by their cards; reads no episode."""
    problems: list[str] = []
    _read_cards(directories, mappings, problems)
    if problems:
        raise DemonstrationError(_told(problems))


def _told(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    lines = [f"{len(problems)} problems in the demonstrations, nothing was trained:", *problems[:MOST_TOLD]]
    if len(problems) > MOST_TOLD:
        lines.append(f"and {len(problems) - MOST_TOLD} more")
    return "\n  ".join(lines)


def _read_cards(
    directories: Sequence[Path], mappings: Sequence[Mapping], problems: list[str]
) -> tuple[list[DataCard], list[tuple[int, DataCard, Source]]]:
    """The robots' cards in order, and every episode with its robot's number and its own set's card; adds to
    `problems`."""
    cards: dict[str, tuple[int, DataCard, Path]] = {}
    jobs: list[tuple[int, DataCard, Source]] = []
    for directory in directories:
        try:
            opened = open_set(directory, mappings)
        except DemonstrationError as error:
            problems.append(str(error))
            continue
        card = opened.card
        number, first, where = cards.setdefault(card.robot, (len(cards), card, directory))
        if not card.fits(first):
            problems.append(
                f"{directory}: its camera, table or clock differs from {where}; another set-up of a robot needs "
                f"another name than {card.robot!r} in the card"
            )
        if number and not card.robot and directory == where:
            problems.append(f"{directory}: its card names no robot, but other sets have other robots; give it a name")
        jobs += [(number, card, source) for source in opened.episodes]
    known = [card for _, card, _ in cards.values()]
    sizes = {(card.image_height, card.image_width) for card in known}
    if len(sizes) > 1:
        problems.append(f"the sets have frames of different sizes {sorted(sizes)}; a run takes one")
    return known, jobs


class _Columns:
    """Episodes on their way into one `Demonstrations`."""

    def __init__(self, frames: FrameStore) -> None:
        self.marks = 0
        self._store = frames
        self._parts: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
        self._instructions: dict[str, int] = {}
        self._names: list[str] = []
        self._objects: list[tuple[str, ...]] = []
        self._rows = 0

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
            parts["frame_index"].append(np.arange(self._store.count, self._store.count + steps))
            self._store.add(data["frames"])
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
        frames = self._store.joined()
        if frames is None:
            frames = np.zeros((0, cards[0].image_height, cards[0].image_width, 3), dtype=np.uint8)
        return Demonstrations(
            cards=tuple(cards),
            identity=identity,
            instructions=tuple(self._instructions),
            episode_names=tuple(self._names),
            objects=tuple(self._objects),
            frames=frames,
            **{name: np.concatenate(arrays) for name, arrays in parts.items()},
        )


_COLUMNS = (
    "frame_index", "proprioception", "actions", "marks", "instruction", "robot", "episode", "last_row",
    "onset", "weight", "object_marks",
)  # fmt: skip


def _project(points: np.ndarray, card: DataCard) -> np.ndarray:
    """Points (T, N, 3) of the base frame, m, to fractions (T, N, 2) of the card's image, float32; NaN behind the
    camera."""
    fractions = project(points, np.array(card.intrinsics), np.array(card.extrinsics)) / card.width_height
    return fractions.astype(np.float32)
