"""Marks and traces of a whole video on disk: one .npz of numpy arrays per video, never pickle.

On disk:
    format_version int64 ()          1
    frame_size int64 (2,)            height and width of the video's frames, px
    instruction                      string, "" where nobody said what is being done
    clip_starts int64 (C,)           number of each clip's first frame in the video
    camera_moved bool (C,)           whether the camera's motion was taken out of a clip
    clip int64 (M,)                  which clip a mark belongs to, ascending
    ids int64 (M,)                   number of a mark, from 1 within its clip
    points float32 (M, T + 1, 2)     grid units (0..256, x right, y down), as of the clip's first frame
    visible bool (M, T + 1)
    moving bool (M,)                 foreground
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from magma_policy.video_marks import ClipMarks

FORMAT_VERSION = 1


class TraceFileError(ValueError):
    """A file of traces cannot be read; the message says why."""


@dataclass(frozen=True)
class TrackedVideo:
    """Marks of the clips of one video; `clips` by the number of their first frame, all of the same length."""

    frame_size: tuple[int, int]
    instruction: str
    clips: dict[int, ClipMarks]


def write_traces(path: Path, video: TrackedVideo) -> None:
    """Writes a file whole or not at all."""
    clips = list(video.clips.values())
    frames = len(clips[0].points) if clips else 1
    arrays = {
        "format_version": np.int64(FORMAT_VERSION),
        "frame_size": np.array(video.frame_size, dtype=np.int64),
        "instruction": np.array(video.instruction),
        "clip_starts": np.array(list(video.clips), dtype=np.int64),
        "camera_moved": np.array([clip.camera_moved for clip in clips], dtype=bool),
        "clip": np.repeat(np.arange(len(clips), dtype=np.int64), [len(clip.ids) for clip in clips]),
        "ids": np.concatenate([np.zeros(0, dtype=np.int64), *(clip.ids for clip in clips)]),
        "points": np.concatenate(
            [np.zeros((0, frames, 2), dtype=np.float32), *(clip.points.transpose(1, 0, 2) for clip in clips)]
        ),
        "visible": np.concatenate([np.zeros((0, frames), dtype=bool), *(clip.visible.T for clip in clips)]),
        "moving": np.concatenate([np.zeros(0, dtype=bool), *(clip.moving for clip in clips)]),
    }
    partial = path.with_suffix(f".partial-{os.getpid()}")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    partial.replace(path)


def read_traces(path: Path) -> TrackedVideo:
    """Reads and checks a file.

    Raises:
        TraceFileError: missing, cut off, of another version, or not consistent.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise TraceFileError(f"{path}: cannot be read ({error})") from error
    if data.get("format_version") != FORMAT_VERSION:
        raise TraceFileError(f"{path}: is of version {data.get('format_version')}, expected {FORMAT_VERSION}")
    try:
        starts, clip, points = data["clip_starts"], data["clip"], data["points"]
        marks, frames, _ = points.shape
        shapes = {
            "frame_size": (2,),
            "camera_moved": (len(starts),),
            "clip": (marks,),
            "ids": (marks,),
            "points": (marks, frames, 2),
            "visible": (marks, frames),
            "moving": (marks,),
        }
        for name, shape in shapes.items():
            if data[name].shape != shape:
                raise TraceFileError(f"{path}: {name} has shape {data[name].shape}, expected {shape}")
        height, width = (int(side) for side in data["frame_size"])
        instruction = str(data["instruction"])
    except (KeyError, ValueError, AttributeError) as error:
        if isinstance(error, TraceFileError):
            raise
        raise TraceFileError(f"{path}: lacks an array or has it in another form ({error})") from error
    if not np.isfinite(points).all() or (len(clip) and not (clip.min() >= 0 and clip.max() < len(starts))):
        raise TraceFileError(f"{path}: a point is not finite or belongs to no clip")
    return TrackedVideo(
        (height, width),
        instruction,
        {
            int(start): ClipMarks(
                ids=data["ids"][clip == number],
                points=points[clip == number].transpose(1, 0, 2),
                visible=data["visible"][clip == number].T,
                moving=data["moving"][clip == number],
                camera_moved=bool(data["camera_moved"][number]),
            )
            for number, start in enumerate(starts)
        },
    )
