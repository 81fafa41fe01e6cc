"""Taking the motion of the camera out of tracks, so that what is left is what moved in the scene.

As in Magma's data (Magma repository, tools/som_tom/demo.py; Yang et al. 2025, arXiv 2502.13130, algorithm 2): when
nearly all traces move, it is the camera that moves, and a homography per frame, found by RANSAC, takes the points back
to the first frame. A homography describes a camera that only turns, or a flat background, exactly; else roughly.
"""

from __future__ import annotations

import cv2
import numpy as np

from magma_policy.marks.tracking import PointTracks

REFERENCE_HEIGHT = 512
"""Height in px of the images that the published thresholds in px refer to."""
CAMERA_STEP_PX = 0.5
"""Mean step of a trace that moves, at the reference height (the demonstration; the data code takes 1)."""
CAMERA_SHARE = 0.8
REPROJECTION_PX = 4.0
"""RANSAC: largest distance of a point that fits, at the reference height."""
LEAST_FIT = 0.5
"""Share of the visible points that must fit a homography. The published code takes any; a homography that most of the
image contradicts is no camera motion."""


def step_lengths(tracks: PointTracks) -> np.ndarray:
    """float64 (N,): mean distance between a point's positions in consecutive frames where it is visible; 0 without."""
    both = tracks.visible[1:] & tracks.visible[:-1]
    steps = np.linalg.norm(np.diff(tracks.points.astype(np.float64), axis=0), axis=-1)
    lengths: np.ndarray = np.where(both, steps, 0.0).sum(axis=0) / np.maximum(both.sum(axis=0), 1)
    return lengths


def camera_moves(tracks: PointTracks, step_px: float = CAMERA_STEP_PX, share: float = CAMERA_SHARE) -> bool:
    """Whether more than `share` of the traces move more than `step_px` per frame on average."""
    return tracks.points.shape[1] > 0 and float((step_lengths(tracks) > step_px).mean()) > share


def homographies_to_first(tracks: PointTracks, reprojection_px: float = REPROJECTION_PX) -> np.ndarray:
    """float64 (T, 3, 3): takes the background of every frame to the first; NaN where none explains enough points."""
    homographies = np.full((len(tracks.points), 3, 3), np.nan)
    homographies[0] = np.eye(3)
    first = tracks.points[0].astype(np.float64)
    for step in range(1, len(tracks.points)):
        seen = tracks.visible[0] & tracks.visible[step]
        if seen.sum() < 4:
            continue
        now = tracks.points[step, seen].astype(np.float64)
        found, fits = cv2.findHomography(now, first[seen], cv2.RANSAC, reprojection_px)
        if found is not None and np.isfinite(found).all() and fits.mean() >= LEAST_FIT:
            homographies[step] = found
    return homographies


def remove_camera_motion(tracks: PointTracks, homographies: np.ndarray) -> PointTracks:
    """The tracks as a camera that stays where it was in the first frame would see them.

    Where a frame has no homography, or one that takes a point to infinity, the point counts as not visible and keeps
    its last position.
    """
    points, visible = tracks.points.copy(), tracks.visible.copy()
    for step in range(1, len(points)):
        homogeneous = np.concatenate([points[step], np.ones_like(points[step, :, :1])], axis=1).astype(np.float64)
        x, y, w = (homogeneous @ homographies[step].T).T
        known = np.isfinite(w) & (w > 1e-6)
        moved = np.stack([x, y], axis=1) / np.where(known, w, 1.0)[:, None]
        points[step] = np.where(known[:, None], moved, points[step - 1])
        visible[step] &= known
    return PointTracks(points, visible)
