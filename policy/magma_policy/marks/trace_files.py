"""Marks and traces of a whole video on disk: one .npz of numpy arrays per video, never pickle.

On disk:
    format_version int64 ()          1
    frame_size int64 (2,)            height and width of the video's frames, px
    instruction                      string, "" where nobody said what is being done
    source                           string, digest of the file that was tracked (`magma_policy_client.content`);
                                     older files have none
    clip_starts int64 (C,)           number of each clip's first frame in the video
    camera_moved bool (C,)           whether the camera's motion was taken out of a clip
    clip int64 (M,)                  which clip a mark belongs to, ascending
    ids int64 (M,)                   number of a mark, from 1 within its clip
    points float32 (M, T + 1, 2)     grid units (0..256, x right, y down), as of the clip's first frame
    visible bool (M, T + 1)
    moving bool (M,)                 foreground
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from magma_contracts.text import printable
from magma_policy.files.array_files import ArrayFileError, read_arrays
from magma_policy.files.whole_files import whole_file
from magma_policy.marks.clip_marks import ClipMarks

FORMAT_VERSION = 1
ARRAYS = (
    "format_version", "frame_size", "instruction", "clip_starts", "camera_moved", "clip", "ids", "points", "visible",
    "moving",
)  # fmt: skip


class TraceFileError(ValueError):
    """A file of traces cannot be read; the message says why."""


@dataclass(frozen=True)
class TrackedVideo:
    """Marks of the clips of one video; `clips` by the number of their first frame, all of the same length."""

    frame_size: tuple[int, int]
    instruction: str
    clips: dict[int, ClipMarks]
    source: str = ""
    """digest of the file that was tracked, whatever it was called; "" where that is not known"""

    @property
    def identity(self) -> str:
        """A hash of everything: other traces have another one."""
        found = hashlib.sha256(repr((self.frame_size, self.instruction, self.source)).encode())
        for start, clip in sorted(self.clips.items()):
            found.update(repr((start, clip.points.shape, clip.camera_moved)).encode())
            for array in (clip.ids, clip.points, clip.visible, clip.moving):
                found.update(array.tobytes())
        return found.hexdigest()[:12]


def write_traces(path: Path, video: TrackedVideo) -> None:
    """Writes a file whole or not at all."""
    starts = sorted(video.clips)
    clips = [video.clips[start] for start in starts]
    frames = len(clips[0].points) if clips else 1
    arrays = {
        "format_version": np.int64(FORMAT_VERSION),
        "frame_size": np.array(video.frame_size, dtype=np.int64),
        "instruction": np.array(video.instruction),
        "source": np.array(video.source),
        "clip_starts": np.array(starts, dtype=np.int64),
        "camera_moved": np.array([clip.camera_moved for clip in clips], dtype=bool),
        "clip": np.repeat(np.arange(len(clips), dtype=np.int64), [len(clip.ids) for clip in clips]),
        "ids": np.concatenate([np.zeros(0, dtype=np.int64), *(clip.ids for clip in clips)]),
        "points": np.concatenate(
            [np.zeros((0, frames, 2), dtype=np.float32), *(clip.points.transpose(1, 0, 2) for clip in clips)]
        ),
        "visible": np.concatenate([np.zeros((0, frames), dtype=bool), *(clip.visible.T for clip in clips)]),
        "moving": np.concatenate([np.zeros(0, dtype=bool), *(clip.moving for clip in clips)]),
    }
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_traces(path: Path) -> TrackedVideo:
    """Reads and checks a file.

    Raises:
        TraceFileError: missing, cut off, of another version, or not consistent.
    """
    try:
        data = read_arrays(path, (*ARRAYS, "source"))
    except ArrayFileError as error:
        raise TraceFileError(str(error)) from error
    kinds = {"points": "f", "visible": "b", "moving": "b", "camera_moved": "b", "instruction": "U"}
    for name in ARRAYS:
        if name not in data:
            raise TraceFileError(f"{path}: lacks {name}")
        if data[name].dtype.kind != kinds.get(name, "i"):
            raise TraceFileError(f"{path}: {name} holds {data[name].dtype}")
    source = data.get("source", np.array(""))
    if source.dtype.kind != "U" or source.shape:
        raise TraceFileError(f"{path}: source holds {source.dtype} of shape {source.shape}")
    version, starts, clip, points = (data[name] for name in ("format_version", "clip_starts", "clip", "points"))
    if version.shape or version != FORMAT_VERSION:
        raise TraceFileError(f"{path}: is of version {printable(version.tolist())}, expected {FORMAT_VERSION}")
    if points.ndim != 3:
        raise TraceFileError(f"{path}: points of another form, {points.shape} instead of (marks, frames, 2)")
    marks, frames = points.shape[:2]
    shapes = {
        "frame_size": (2,),
        "instruction": (),
        "clip_starts": (starts.size,),
        "camera_moved": (starts.size,),
        "clip": (marks,),
        "ids": (marks,),
        "points": (marks, frames, 2),
        "visible": (marks, frames),
        "moving": (marks,),
    }
    for name, shape in shapes.items():
        if data[name].shape != shape:
            raise TraceFileError(f"{path}: {name} has shape {data[name].shape}, expected {shape}")
    if not np.isfinite(points).all() or (marks and not (clip.min() >= 0 and clip.max() < len(starts))):
        raise TraceFileError(f"{path}: a point is not finite or belongs to no clip")
    if (np.diff(starts) <= 0).any() or (starts < 0).any() or (np.diff(clip) < 0).any():
        raise TraceFileError(f"{path}: its clips are not in order")
    height, width = data["frame_size"].tolist()
    if min(height, width) < (1 if len(starts) else 0):
        raise TraceFileError(f"{path}: frames of {width}x{height} pixels")
    bounds = np.searchsorted(clip, np.arange(len(starts) + 1))
    return TrackedVideo(
        (height, width),
        str(data["instruction"]),
        {
            int(start): ClipMarks(
                ids=data["ids"][first:end],
                points=points[first:end].transpose(1, 0, 2),
                visible=data["visible"][first:end].T,
                moving=data["moving"][first:end],
                camera_moved=bool(moved),
            )
            for start, moved, first, end in zip(starts, data["camera_moved"], bounds[:-1], bounds[1:], strict=True)
        },
        str(source),
    )
