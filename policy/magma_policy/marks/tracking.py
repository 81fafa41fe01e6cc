"""Following points through a video: pyramidal Lucas-Kanade by OpenCV, or CoTracker where it is installed.

Trackers take frames and the points to follow in the first of them, and say where the points are in every frame and
where they can be seen. Marks and traces of real video are made from that (`video_marks.py`), as in Magma's data
(Yang et al. 2025, arXiv 2502.13130, algorithm 2).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from magma_contracts.errors import ConfigError
from magma_contracts.imports import import_problem

VISIBLE_SHARE = 0.5
"""A trace is kept when its point is visible in more than this share of the frames (Magma repository, som_tom)."""

_PIXEL_CENTRE = np.float32(0.5)
"""OpenCV and CoTracker count from the centre of the first pixel, this project from its corner."""

CO_TRACKER_REMEDY = (
    "it is on no package index, so install it from its repository, pip install "
    "git+https://github.com/facebookresearch/co-tracker"
)


class TrackerError(RuntimeError):
    """A tracker cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class PointTracks:
    """Where N points are in T frames.

    Attributes:
        points: float32 (T, N, 2), pixels (x, y) from the image's top left corner, so that the centre of its first
            pixel is (0.5, 0.5), as in the cameras' intrinsics of demonstration sets. Where a point is not visible this
            is the tracker's best guess, always finite.
        visible: bool (T, N).
    """

    points: np.ndarray
    visible: np.ndarray

    def kept(self, share: float = VISIBLE_SHARE) -> np.ndarray:
        """bool (N,): visible in more than `share` of the frames."""
        kept: np.ndarray = self.visible.mean(axis=0) > share
        return kept

    def select(self, which: np.ndarray) -> PointTracks:
        """Some of the points, by index or mask."""
        return PointTracks(self.points[:, which], self.visible[:, which])


class PointTracker(Protocol):
    """Follows points through frames."""

    def track(self, frames: np.ndarray, starts: np.ndarray) -> PointTracks:
        """Follow points from the first frame on.

        Args:
            frames: uint8 (T, H, W, 3) rgb, T >= 1.
            starts: (N, 2) pixels (x, y) in the first frame, from its corner; a point off the image is never visible.

        Raises:
            ValueError: frames or starts have another form.
        """
        ...


@dataclass(frozen=True)
class LucasKanadeTracker:
    """Pyramidal Lucas-Kanade from frame to frame, with checks that report a lost point (Bouguet, "Pyramidal
    implementation of the affine Lucas Kanade feature tracker", 2001; forward-backward error: Kalal et al., ICPR 2010).

    A point is lost when it leaves the image, when its surroundings have no texture to hold on to, when tracking back
    does not return to where it came from, or when its surroundings no longer look like they did one frame before. What
    is lost stays lost: an occluded point is not found again.
    """

    window_px: int = 15
    """side of the square that is compared, odd"""
    levels: int = 3
    """times the image is halved; a point may move about window_px / 2 * 2 ** levels between frames"""
    forward_backward_px: float = 1.0
    """largest distance between a point and itself tracked forth and back"""
    texture: float = 1e-3
    """least texture in the weakest direction (OpenCV's minEigThreshold): below it a straight edge, along which a point
    could slide unnoticed, would count"""
    similarity: float = 0.7
    """least correlation of the point's surroundings with those one frame before, -1..1"""

    def __post_init__(self) -> None:
        if self.window_px < 3 or self.window_px % 2 == 0:
            raise ConfigError(f"window_px must be odd and at least 3, got {self.window_px}")
        if not 0 <= self.levels <= 10:
            raise ConfigError(f"levels must be from 0 to 10, got {self.levels}")
        if not self.forward_backward_px > 0:
            raise ConfigError(f"forward_backward_px must be positive, got {self.forward_backward_px}")
        if not self.texture >= 0:
            raise ConfigError(f"texture must be at least 0, got {self.texture}")
        if not -1 <= self.similarity < 1:
            raise ConfigError(f"similarity must be from -1 to below 1, got {self.similarity}")

    def track(self, frames: np.ndarray, starts: np.ndarray) -> PointTracks:
        """See `PointTracker.track`."""
        frames, starts = _check(frames, starts)
        steps, height, width = frames.shape[:3]
        points = np.repeat(starts[None], steps, axis=0)
        visible = np.zeros((steps, len(starts)), dtype=bool)
        visible[0] = _inside(starts, width, height)
        frames = np.ascontiguousarray(frames)
        for step in range(1, steps):
            points[step] = points[step - 1]
            alive = np.flatnonzero(visible[step - 1])
            if len(alive):
                moved, sure = self._advance(frames[step - 1], frames[step], points[step - 1, alive])
                points[step, alive[sure]] = moved[sure]
                visible[step, alive] = sure
        return PointTracks(points, visible)

    def _advance(self, before: np.ndarray, now: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (N, 2) one frame later, and which of them are certain."""
        height, width = now.shape[:2]
        points = points - _PIXEL_CENTRE
        options: dict[str, Any] = {
            "winSize": (self.window_px, self.window_px),
            "maxLevel": self.levels,
            "minEigThreshold": self.texture,
            "criteria": (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.01),
        }
        column = np.ascontiguousarray(points[:, None])
        forth, found, _ = cv2.calcOpticalFlowPyrLK(before, now, column, None, **options)
        back, returned, _ = cv2.calcOpticalFlowPyrLK(now, before, forth, None, **options)
        moved = forth[:, 0]
        error = np.linalg.norm(back[:, 0] - points, axis=1)
        sure = (found[:, 0] == 1) & (returned[:, 0] == 1) & np.isfinite(moved).all(axis=1)
        sure &= (error <= self.forward_backward_px) & _inside(moved + _PIXEL_CENTRE, width, height)
        rows = np.flatnonzero(sure)
        if len(rows):
            alike = _correlation(
                _patches(before, points[rows], self.window_px), _patches(now, moved[rows], self.window_px)
            )
            sure[rows] = alike >= self.similarity
        return moved + _PIXEL_CENTRE, sure


class CoTracker:
    """CoTracker 3, offline (Karaev et al. 2024, arXiv 2410.11831), as Magma's data were made with, through its own
    package. Every point sees all frames, so an occluded one is found again."""

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        """Load from a file of weights that the user has, such as scaled_offline.pth; nothing is downloaded.

        Raises:
            TrackerError: the package cannot be imported, or the file is missing or not such weights.
        """
        import torch

        try:
            predictor = importlib.import_module("cotracker.predictor").CoTrackerPredictor
        except ImportError as error:
            said = import_problem(error, CO_TRACKER_REMEDY, "cotracker", "cotracker.predictor")
            raise TrackerError(f"this tracker needs CoTracker's package, and {said}") from error
        weights = Path(weights).expanduser()
        if not weights.is_file():
            raise TrackerError(
                f"{weights}: no such file; the weights are scaled_offline.pth of huggingface.co/facebook/cotracker3"
            )
        self._torch, self._device = torch, device
        # The package's own loading would leave it to torch's default whether a pickle may run code.
        self._model = predictor(checkpoint=None, offline=True)
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            self._model.model.load_state_dict(state.get("model", state))
        except Exception as error:
            raise TrackerError(f"{weights} are not weights of CoTracker 3 offline: {error}") from error
        self._model = self._model.to(device).eval()

    def track(self, frames: np.ndarray, starts: np.ndarray) -> PointTracks:
        """See `PointTracker.track`."""
        frames, starts = _check(frames, starts)
        inside = _inside(starts, frames.shape[2], frames.shape[1])
        points = np.repeat(starts[None], len(frames), axis=0)
        visible = np.zeros(points.shape[:2], dtype=bool)
        visible[0] = inside
        if inside.any() and len(frames) > 1:
            torch = self._torch
            video = torch.from_numpy(frames.transpose(0, 3, 1, 2)[None].astype(np.float32)).to(self._device)
            queries = np.concatenate([np.zeros((inside.sum(), 1), np.float32), starts[inside] - _PIXEL_CENTRE], axis=1)
            with torch.inference_mode():
                found, seen = self._model(video, queries=torch.from_numpy(queries[None]).to(self._device))
            points[1:, inside] = found[0, 1:].float().cpu().numpy() + _PIXEL_CENTRE
            visible[1:, inside] = seen[0, 1:].reshape(len(frames) - 1, -1).cpu().numpy() > 0.5
            visible &= _inside(points, frames.shape[2], frames.shape[1])
        return PointTracks(points, visible)


def grid_points(width: int, height: int, count: int) -> np.ndarray:
    """float32 (count², 2): centres of count x count equal cells of an image, row by row."""
    x, y = ((np.arange(count) + 0.5) / count * side for side in (width, height))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return grid.astype(np.float32)


def _check(frames: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frames, starts = np.asarray(frames), np.asarray(starts, dtype=np.float32)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}")
    if starts.ndim != 2 or starts.shape[1] != 2 or not np.isfinite(starts).all():
        raise ValueError(f"starts must be finite pixels of shape (N, 2), got shape {starts.shape}")
    return frames, starts


def _inside(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Which points (..., 2) lie on the image."""
    inside = (points >= 0) & (points < np.array([width, height]))
    return inside[..., 0] & inside[..., 1]


def _patches(picture: np.ndarray, points: np.ndarray, side: int) -> np.ndarray:
    """float32 (N, side * side * 3): interpolated squares around OpenCV's points; the image's border goes on."""
    offsets = np.arange(side, dtype=np.float32) - side // 2
    x = points[:, 0, None] + np.tile(offsets, side)
    y = points[:, 1, None] + np.repeat(offsets, side)
    squares = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    patches: np.ndarray = squares.reshape(len(points), -1).astype(np.float32)
    return patches


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Normalised cross-correlation of the rows, 0 where one of them is constant."""
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    size = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    correlation: np.ndarray = (first * second).sum(axis=1) / np.maximum(size, 1e-6)
    return correlation
