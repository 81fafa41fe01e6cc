"""Where things of the robot's world are in a picture: predicted trace, gripper target, workspace box. Pure geometry.

What is told are shares of the picture's width and height, so that one answer fits the camera's picture and the model's
frame, whatever their sizes, as long as the frame is the picture resized.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.camera import project

FloatArray = NDArray[np.float64]
BOX_EDGES = tuple((one, other) for one in range(8) for other in range(one + 1, 8) if bin(one ^ other).count("1") == 1)
"""Pairs of corners; bit 0 of a corner's number chooses x, bit 1 y, bit 2 z."""
NEAR_M = 0.05
"""Lines are cut here, before the camera's plane."""


@dataclass(frozen=True)
class View:
    """A camera as it is now."""

    intrinsics: FloatArray
    """(3, 3) pixels"""
    extrinsics: FloatArray
    """(4, 4) base frame to camera_optical"""
    width: int
    height: int

    def shares(self, points: FloatArray) -> FloatArray:
        """Points (n, 3) of the base frame to (n, 2) shares of width and height; NaN behind the camera."""
        pixels = project(points, self.intrinsics, self.extrinsics)
        return np.asarray(pixels / np.array([self.width, self.height]), dtype=np.float64)

    def segments(self, lines: Sequence[tuple[FloatArray, FloatArray]]) -> list[list[float]]:
        """Lines between points (3,) of the base frame, cut before the camera, as [x1, y1, x2, y2] shares."""
        found = []
        for begin, end in lines:
            cut = self._before_camera(begin, end)
            if cut is not None:
                found.append(rounded(self.shares(np.stack(cut)).ravel()))
        return found

    def _before_camera(self, begin: FloatArray, end: FloatArray) -> tuple[FloatArray, FloatArray] | None:
        depth_a, depth_b = (float(self.extrinsics[2, :3] @ point + self.extrinsics[2, 3]) for point in (begin, end))
        if max(depth_a, depth_b) <= NEAR_M:
            return None
        if min(depth_a, depth_b) > NEAR_M:
            return begin, end
        crossing = begin + (end - begin) * ((NEAR_M - depth_a) / (depth_b - depth_a))
        return (crossing, end) if depth_a <= NEAR_M else (begin, crossing)


def box_corners(low: FloatArray, high: FloatArray) -> FloatArray:
    """The corners (8, 3) of a box."""
    return np.array([[(low, high)[number >> axis & 1][axis] for axis in range(3)] for number in range(8)])


def box_lines(low: FloatArray, high: FloatArray) -> list[list[float]]:
    """The edges [x1, y1, z1, x2, y2, z2] of a box."""
    corners = box_corners(low, high)
    return [rounded(np.concatenate([corners[one], corners[other]])) for one, other in BOX_EDGES]


def predicted_path(target: FloatArray, steps: FloatArray) -> FloatArray:
    """Where steps (n, 7) lead from a target position (3,): (n + 1, 3), beginning with the target."""
    return np.vstack([target, target + np.cumsum(steps[:, :3], axis=0)])


def overlay(
    view: View,
    workspace: tuple[FloatArray, FloatArray] | None,
    target: FloatArray | None,
    measured: FloatArray | None,
    path: FloatArray | None,
) -> dict[str, Any]:
    """What is drawn over the picture, as shares.

    Args:
        workspace: corners (3,) of the box that the target may be in.
        target: (3,) where the end effector was told to go.
        measured: (3,) where it is.
        path: (n, 3) where the policy means to go.
    """
    drawn: dict[str, Any] = {}
    if workspace is not None:
        corners = box_corners(*workspace)
        drawn["workspace"] = view.segments([(corners[one], corners[other]) for one, other in BOX_EDGES])
    for name, point in (("target", target), ("measured", measured)):
        if point is not None:
            place = view.shares(point[None])[0]
            if np.all(np.isfinite(place)):
                drawn[name] = rounded(place)
    if path is not None and len(path) > 1:
        drawn["path"] = view.segments(list(itertools.pairwise(path)))
    return drawn


def rounded(values: FloatArray) -> list[float]:
    """For JSON: a share to a tenth of a pixel of large pictures."""
    return [round(float(value), 4) for value in values]
