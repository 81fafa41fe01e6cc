"""Where a LeRobot dataset keeps what: the names of versions 3.0 and 2.1 of the format, as published with lerobot."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

V3, V2 = "v3.0", "v2.1"
VERSIONS = (V3, V2)

INFO = "meta/info.json"
STATS = "meta/stats.json"

TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

TASKS_V2, EPISODES_V2, STATS_V2 = "meta/tasks.jsonl", "meta/episodes.jsonl", "meta/episodes_stats.jsonl"
DATA_V2 = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_V2 = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"

CARD = "meta/magma.json"
"""This project's data card; other tools do not open it."""
CARD_EPISODES = "meta/magma_episodes.jsonl"
"""A line for each episode with what LeRobot has no place for: name, task, success, the names of the objects."""

CHUNK_SIZE = 1000
"""Files in a folder, at most."""
DATA_FILE_MB, VIDEO_FILE_MB = 100, 200
"""A file that has grown so large is not added to."""

TIMESTAMP, FRAME, EPISODE, INDEX, TASK = "timestamp", "frame_index", "episode_index", "index", "task_index"
STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
OWN = "magma."
"""Begins the features that only this project knows. Others take what begins with `observation` or `action` for a
policy's inputs and outputs, and leave these alone."""

_PLACE = re.compile(r"\{(\w+)(?::0(\d{1,2})d)?\}")


def filled(template: str, **values: int | str) -> str:
    """A path of a template from a file that anyone may have written: only its named places are filled in, and it stays
    inside the folder of the set.

    Raises:
        ValueError: a place that has no value, braces that are none, or a path that leads out.
    """

    def value(match: re.Match[str]) -> str:
        name, width = match[1], match[2]
        if name not in values:
            raise ValueError(f"{template[:120]!r} has a place {name[:40]!r}, which is not one of {', '.join(values)}")
        found = values[name]
        return str(found) if width is None else f"{found:0{int(width)}d}"

    path = _PLACE.sub(value, template)
    parts = PurePosixPath(path).parts
    if not parts or "{" in path or "}" in path or "\\" in path or "\0" in path or path.startswith("/") or ".." in parts:
        raise ValueError(f"{template[:120]!r} makes no path inside of the set")
    return path
