"""Marks and traces of a piece of video, by a point tracker: Set-of-Mark and Trace-of-Mark for images without labels.

Yang et al. 2025, arXiv 2502.13130, algorithm 2, with the numbers of the published code (Magma repository,
tools/som_tom and data/utils). Two things differ from that code: a trace is tested for motion after the camera's motion
was taken out of it, not before, and a trace ends where its point was seen last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from magma_contracts.errors import ConfigError
from magma_policy.marks.camera_motion import (
    CAMERA_SHARE,
    CAMERA_STEP_PX,
    REFERENCE_HEIGHT,
    REPROJECTION_PX,
    camera_moves,
    homographies_to_first,
    remove_camera_motion,
    step_lengths,
)
from magma_policy.marks.set_of_mark import GRID
from magma_policy.marks.trace_of_mark import Traces, from_pixels
from magma_policy.marks.tracking import PointTracker, PointTracks, grid_points

HORIZON = 16
"""Future frames of a trace."""


@dataclass(frozen=True)
class MarkOptions:
    """How marks are chosen. Lengths in px are those of an image of 512 px height, whatever the frames' own is."""

    horizon: int = HORIZON
    """future frames of a trace"""
    grid: int = 15
    """points that are followed: grid x grid, over the whole image"""
    camera: Literal["test", "always", "never"] = "test"
    """whether the camera's motion is taken out: when most traces move, or always (head-mounted cameras), or never"""
    camera_step_px: float = CAMERA_STEP_PX
    """test: mean step from which a trace counts as moved"""
    camera_share: float = CAMERA_SHARE
    """test: share of moved traces above which the camera moves"""
    reprojection_px: float = REPROJECTION_PX
    """how far a point of the background may lie from where the camera's motion takes it"""
    moving_step_px: float = 2.0
    """mean step above which a trace belongs to the foreground (published: 1 for robots, 2, and 3 for video)"""
    moving_marks: tuple[int, int] = (2, 5)
    """least and most clusters of moving traces; each gives one mark"""
    static_marks: tuple[int, int] = (6, 14)
    """the same for traces that stand still"""

    def __post_init__(self) -> None:
        if self.horizon < 1 or not 2 <= self.grid <= 100:
            raise ConfigError(f"horizon {self.horizon} must be at least 1, grid {self.grid} from 2 to 100")
        for name in ("camera_step_px", "reprojection_px", "moving_step_px"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} must be a positive number, got {getattr(self, name)}")
        if not 0 <= self.camera_share <= 1:
            raise ConfigError(f"camera_share must be from 0 to 1, got {self.camera_share}")
        for name in ("moving_marks", "static_marks"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ConfigError(f"{name} must be two numbers in order, of at least 0, got {low} {high}")


@dataclass(frozen=True)
class ClipMarks:
    """Marks on the first frame of a clip and where they go, M marks over T + 1 frames.

    Attributes:
        ids: int64 (M,), the marks' numbers from 1, ascending.
        points: float32 (T + 1, M, 2), grid units (0..256, x right, y down), the camera's motion taken out.
        visible: bool (T + 1, M).
        moving: bool (M,), whether a mark belongs to the foreground.
        camera_moved: whether the camera's motion was taken out.
    """

    ids: np.ndarray
    points: np.ndarray
    visible: np.ndarray
    moving: np.ndarray
    camera_moved: bool

    def starts(self) -> dict[int, tuple[float, float]]:
        """Grid position of every mark in the first frame, by number."""
        return {int(k): (float(x), float(y)) for k, (x, y) in zip(self.ids, self.points[0], strict=True)}

    def traces(self, steps: int | None = None) -> Traces:
        """Traces of the marks that move, in whole grid units.

        Without `steps` each ends where its point was last seen on the grid; with it only marks that were seen so long
        are named, and all have that many steps. Gaps in between are filled in on a straight line.
        """
        on_grid = np.logical_and.reduce((self.points >= 0) & (self.points <= GRID), axis=-1)
        paths = {}
        for mark in np.flatnonzero(self.moving):
            seen = np.flatnonzero(self.visible[:, mark] & on_grid[:, mark])
            last = seen[-1] if len(seen) else 0
            if last < (steps or 1):
                continue
            times = np.arange((steps or last) + 1)
            x, y = (np.interp(times, seen, self.points[seen, mark, axis]) for axis in (0, 1))
            paths[int(self.ids[mark])] = np.stack([x, y], axis=1)
        return from_pixels(paths, GRID, GRID)


def clip_marks(frames: np.ndarray, tracker: PointTracker, options: MarkOptions, seed: int | list[int]) -> ClipMarks:
    """Marks and traces of one clip, frames uint8 (horizon + 1, H, W, 3) rgb. The same seed gives the same marks."""
    height, width = frames.shape[1:3]
    tracks = tracker.track(frames, grid_points(width, height, options.grid))
    scale = np.float32(REFERENCE_HEIGHT / height)
    tracks = tracks.select(tracks.kept())
    tracks = PointTracks(tracks.points * scale, tracks.visible)
    moved = options.camera == "always" or (
        options.camera == "test" and camera_moves(tracks, options.camera_step_px, options.camera_share)
    )
    if moved:
        tracks = remove_camera_motion(tracks, homographies_to_first(tracks, options.reprojection_px))
        tracks = tracks.select(tracks.kept())
    moves = step_lengths(tracks) > options.moving_step_px
    rng = np.random.default_rng(seed)
    chosen = [
        _one_per_cluster(tracks.points, np.flatnonzero(which), limits, rng)
        for which, limits in ((moves, options.moving_marks), (~moves, options.static_marks))
    ]
    marks = rng.permutation(np.concatenate(chosen))
    tracks = tracks.select(marks)
    to_grid = np.array([GRID / width, GRID / height], dtype=np.float32) / scale
    return ClipMarks(np.arange(1, len(marks) + 1), tracks.points * to_grid, tracks.visible, moves[marks], moved)


def clips(frames: Iterable[np.ndarray], length: int, every: int) -> Iterator[tuple[int, np.ndarray]]:
    """Whole clips of `length` frames (H, W, 3), one beginning at every `every`-th frame: (first frame's number, uint8
    (length, H, W, 3)). What a clip does not need any more is let go, so that a long video fits in memory."""
    kept: list[np.ndarray] = []
    first = 0
    for number, frame in enumerate(frames):
        if number >= first:
            kept.append(frame)
        if len(kept) == length:
            yield first, np.stack(kept)
            kept = kept[every:]
            first += every


def cluster(traces: np.ndarray, count: int, seed: int) -> np.ndarray:
    """int (N,): number of the k-means cluster of each trace, traces (N, ...); the same seed gives the same clusters."""
    if count <= 1:
        return np.zeros(len(traces), dtype=np.int64)
    if len(traces) <= count:
        return np.arange(len(traces))
    data = np.ascontiguousarray(traces.reshape(len(traces), -1), dtype=np.float32)
    # OpenCV's k-means draws from this thread's generator, which nothing else here uses.
    cv2.setRNGSeed(seed)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-3)
    labels: np.ndarray = cv2.kmeans(data, count, None, criteria, 3, cv2.KMEANS_PP_CENTERS)[1].ravel()
    return labels


def _one_per_cluster(
    points: np.ndarray, candidates: np.ndarray, limits: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Indices of one point for each of a random number of clusters of the candidates' traces."""
    count = int(rng.integers(limits[0], limits[1] + 1))
    if count == 0 or not len(candidates):
        return np.zeros(0, dtype=np.int64)
    labels = cluster(points[:, candidates].transpose(1, 0, 2), count, int(rng.integers(2**31 - 1)))
    return np.array([rng.choice(candidates[labels == label]) for label in np.unique(labels)], dtype=np.int64)
