"""What is in a set, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from magma_contracts.demonstrations import CARD
from magma_contracts.text import printable
from magma_data import layout
from magma_data.errors import DatasetError
from magma_data.info import counters
from magma_data.json_files import read_object
from magma_data.reader import Dataset, Episode, is_dataset
from magma_policy.demonstrations.episode_file import DemonstrationError, at_steps, fingerprint, unteachable
from magma_policy.demonstrations.mapping import Mapping
from magma_policy.demonstrations.sources import DemonstrationSet, of_dataset, open_set

MOST_NUMBERS = 16
"""Numbers of a feature whose statistics are printed."""
MOST_INSTRUCTIONS = 20
CLOCK_TOLERANCE = 0.25
"""Share of a period by which a time may be off."""


def described(folder: Path) -> list[str]:
    """Lines about a set. Raises DatasetError or DemonstrationError."""
    if not is_dataset(folder):
        return _described_files(folder)
    dataset = Dataset(folder)
    info, lengths = dataset.info, [episode.length for episode in dataset.episodes]
    lines = [
        f"{folder}: LeRobot dataset {info.version}{', with the card of this project' if dataset.card else ''}",
        f"robot_type {printable(info.robot_type) or 'not told'}; {info.episodes} episodes, {info.frames} frames at "
        f"{info.fps:g} "
        f"per second ({info.frames / info.fps:.0f} s), {min(lengths, default=0)} to {max(lengths, default=0)} frames "
        "each",
        *_instructions(Counter(task for episode in dataset.episodes for task in episode.tasks)),
    ]
    path = folder / layout.STATS
    statistics = read_object(path) if path.is_file() else {}
    for name, feature in info.features.items():
        if name in counters():
            continue
        words = f" ({', '.join(map(printable, feature.names))})" if feature.names and not feature.pictured else ""
        lines.append(f"{name}: {feature.dtype} {list(feature.shape)}{words}")
        lines += _statistics(statistics.get(name))
    return lines


def _described_files(folder: Path) -> list[str]:
    opened = open_set(folder)
    steps, told = 0, Counter[str]()
    for source in opened.episodes:  # one after the other: their pictures need not lie in memory together
        data = source.read()
        steps += len(data["actions"])
        told[str(data["instruction"])] += 1
    return [
        f"{folder}: .npz files and {CARD}, an earlier format; magma-data convert makes a set of today's of it",
        f"robot {printable(opened.card.robot) or 'not told'}; {len(opened.episodes)} episodes, {steps} steps of "
        f"{opened.card.step_period_s:g} s",
        *_instructions(told),
    ]


def _instructions(counts: Counter[str]) -> list[str]:
    lines = [f"  {count} x {printable(task)}" for task, count in counts.most_common(MOST_INSTRUCTIONS)]
    if len(counts) > MOST_INSTRUCTIONS:
        lines.append(f"  and {len(counts) - MOST_INSTRUCTIONS} instructions more")
    return ["instructions, and in how many episodes:", *lines]


def _statistics(found: object) -> list[str]:
    """The numbers' statistics, a line each."""
    if not isinstance(found, dict):
        return []
    columns: dict[str, np.ndarray] = {}
    for key in ("min", "mean", "max", "std"):
        try:
            columns[key] = np.asarray(found[key], dtype=np.float64).reshape(-1)[:MOST_NUMBERS]
        except (KeyError, ValueError, TypeError):
            return ["  its statistics cannot be read"]
    return ["  " + key.ljust(5) + " ".join(f"{value:9.4g}" for value in values) for key, values in columns.items()]


def check(folder: Path, mappings: Sequence[Mapping] = ()) -> Iterator[str]:
    """Reads everything; a sentence for whatever is wrong. A set that cannot be opened at all is one problem."""
    try:
        if is_dataset(folder):
            dataset = Dataset(folder)
            for episode in tqdm(dataset.episodes, desc="files", unit="episode", mininterval=2.0):
                yield from _of_episode(dataset, episode)
            if not dataset.card and not mappings:
                return
            opened = of_dataset(dataset, mappings)
        else:
            opened = open_set(folder, mappings)
    except (DatasetError, DemonstrationError) as error:
        yield str(error)
        return
    yield from _of_demonstrations(opened)


def _of_episode(dataset: Dataset, episode: Episode) -> Iterator[str]:
    """What LeRobot's files say of one: numbers, clock, gaps, pictures."""
    where = f"{dataset.folder}: {episode.title}"
    numbers = [name for name, f in dataset.info.features.items() if not f.pictured and f.dtype != "string"]
    try:
        values = dataset.read(episode, numbers)
    except DatasetError as error:
        yield str(error)
        return
    for name in numbers:
        array = values[name]
        if array.dtype.kind == "f" and not name.startswith(layout.OWN):
            yield from (f"{where}: {text}" for text in at_steps(~np.isfinite(array), f"{name} is not finite", array))
    times_s = values[layout.TIMESTAMP].reshape(-1).astype(np.float64)
    period_s = 1.0 / dataset.info.fps
    gaps = np.diff(times_s)
    back = np.append(False, ~(gaps > 0))
    yield from (f"{where}: {text}" for text in at_steps(back, "the time does not go forward", times_s))
    late = np.append(False, gaps > (1.0 + CLOCK_TOLERANCE) * period_s)
    yield from (
        f"{where}: {text}"
        for text in at_steps(late, f"a gap, longer than the clock's {period_s:g} s, ends at the time", times_s)
    )
    drift = np.abs(times_s - times_s[0] - np.arange(len(times_s)) * period_s)
    if not late.any() and not back.any() and drift.max() > CLOCK_TOLERANCE * period_s:
        yield f"{where}: its times run away from {dataset.info.fps:g} per second by {drift.max():.3g} s"
    tasks = set(values[layout.TASK].reshape(-1).tolist())
    named = {dataset.tasks.get(task) for task in tasks}
    if None in named or (episode.tasks and named != set(episode.tasks)):
        said = printable(list(episode.tasks), 120)
        yield f"{where}: its task_index {sorted(tasks)[:10]} does not fit its instructions {said}"
    for camera in dataset.info.cameras:
        try:
            count = sum(1 for _ in dataset.pictures(episode, camera))
        except DatasetError as error:
            yield str(error)
        else:
            if count != episode.length:
                yield f"{where}: {camera} has {count} pictures for {episode.length} frames"


def _of_demonstrations(opened: DemonstrationSet) -> Iterator[str]:
    """What magma-train would refuse."""
    seen: dict[bytes, str] = {}
    marks = None
    for source in tqdm(opened.episodes, desc="episodes", unit="episode", mininterval=2.0):
        try:
            data = source.read()
        except DemonstrationError as error:
            yield str(error)
            continue
        marks = data["marks"].shape[1] if marks is None else marks
        for text in unteachable(data, opened.card.image_height, opened.card.image_width, marks):
            yield f"{source.where}: {text}"
        twin = seen.setdefault(fingerprint(data), source.where)
        if twin is not source.where:
            yield f"{source.where}: is the same episode as {twin}"
