"""A set of today's format, of any set that is read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from magma_contracts.demonstrations import ACTION_ENTRY, CARD, FORMAT_VERSION, MARKS
from magma_data import demonstrations as native
from magma_data.json_files import read_object
from magma_data.reader import Dataset
from magma_policy.demonstrations.data_card import DataCard
from magma_policy.demonstrations.episode_file import DemonstrationError
from magma_policy.demonstrations.sources import DemonstrationSet
from magma_policy.files.array_files import read_arrays


def read_whole(opened: DemonstrationSet, number: int) -> dict[str, Any]:
    """Every array of an episode that a set of today's format has. Raises DemonstrationError."""
    return {**opened.episodes[number].read(), **_further(opened, opened.dataset, number)}


def convert(
    opened: DemonstrationSet,
    new: Path,
    video: bool = False,
    episodes: Iterable[dict[str, Any]] | None = None,
) -> tuple[int, int]:
    """Writes a set of all episodes with their names, whatever they are now; returns the numbers of episodes and steps.

    Args:
        opened: the set.
        new: folder of the new one.
        video: films in place of PNG.
        episodes: what `read_whole` gives for each, in order, where others have read them; default: read here.

    Raises:
        DemonstrationError: an episode that cannot be read, or that has other arrays than the first.
        DatasetError: it cannot be written; OSError likewise.
    """
    dataset = opened.dataset
    objects = 0
    if dataset is None:
        for source in opened.episodes:
            assert source.file is not None
            names = read_arrays(source.file, ("object_names",))
            objects = max(objects, *(array.size for array in names.values()), 0)
    else:
        objects = max((len(episode.more.get("object_names", ())) for episode in dataset.episodes), default=0)
    writer, form = None, None
    card = _card(opened, dataset)
    read = (read_whole(opened, number) for number in range(len(opened.episodes))) if episodes is None else episodes
    sources = tqdm(opened.episodes, desc="converting", unit="episode", mininterval=2.0)
    for source, arrays in zip(sources, read, strict=True):
        if writer is None or form is None:
            form = native.form_of(arrays, objects, video)
            writer = native.open_set(new, form, 1.0 / opened.card.step_period_s, opened.card.robot)
        if native.form_of(arrays, objects, video) != form:
            raise DemonstrationError(
                f"{source.where}: has other arrays, or pictures of another size, than the first episode; a set has "
                "one form: "
                "convert them apart"
            )
        native.add_episode(writer, form, source.name.removesuffix(".npz"), arrays)
    if writer is None:
        raise DemonstrationError(f"{opened.directory}: has no episodes")
    writer.flush(card)
    return writer.episodes, writer.frames


def _further(opened: DemonstrationSet, dataset: Dataset | None, number: int) -> dict[str, Any]:
    """What an episode of this project has besides what is taught."""
    names = ("executed", "points", "operator", "intervention", *native.OF_EPISODE)
    source = opened.episodes[number]
    if source.file is not None:
        return read_arrays(source.file, names)
    if dataset is None or not dataset.card:
        return {}
    return {
        name: array for name, array in native.read_episode(dataset, dataset.episodes[number]).items() if name in names
    }


def _card(opened: DemonstrationSet, dataset: Dataset | None) -> dict[str, Any]:
    card: DataCard = opened.card
    if dataset is None:
        # The whole card, with what is in it for people.
        return {**read_object(opened.directory / CARD), "format_version": FORMAT_VERSION}
    if dataset.card:
        return {**dataset.card, "format_version": FORMAT_VERSION}
    made = {
        "format_version": FORMAT_VERSION,
        "suite": "converted",
        "robot": card.robot,
        "action": ACTION_ENTRY,
        "points": list(MARKS),
        "step_period_s": card.step_period_s,
        "image_size": [card.image_height, card.image_width],
        "table_height_m": card.table_height_m,
        "converted_from": {"robot_type": dataset.info.robot_type, "fps": dataset.info.fps},
    }
    if card.intrinsics:
        made["camera_intrinsics"] = [list(row) for row in card.intrinsics]
        made["camera_extrinsics_base_to_optical"] = [list(row) for row in card.extrinsics]
    return dict(json.loads(json.dumps(made)))
