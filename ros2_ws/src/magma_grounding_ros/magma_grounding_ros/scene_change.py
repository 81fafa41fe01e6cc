"""Whether what a picture shows is still so: judged by a later picture, and by how far the arm has moved since."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from magma_contracts.arm_state import EndEffectorState
from magma_contracts.geometry.rotations import axis_angle_from_quaternion, conjugate, multiply
from magma_grounding_ros.frame_history import Frame

CELLS = 32
"""Pictures are compared on a grid of so many cells each way: finer than the things that are named, and each cell the
mean of so many pixels that a camera's noise does not count."""


@dataclass(frozen=True)
class SceneTolerance:
    """Up to what a scene counts as unchanged.

    Attributes:
        colour: by how much a cell's colour may change, of 255.
        cells: share of all cells that may change by more.
        arm_m: how far the end effector may have moved, metres.
        arm_rad: how far it may have turned, radians.
    """

    colour: float = 10.0
    cells: float = 0.003
    arm_m: float = 0.01
    arm_rad: float = 0.05


def why_changed(
    before: Frame,
    now: Frame,
    arm_before: EndEffectorState | None,
    arm_now: EndEffectorState | None,
    tolerance: SceneTolerance,
) -> str | None:
    """One sentence about what has changed, or None. The arm is judged where both its states are known."""
    if before.pixels.shape != now.pixels.shape:
        return "the camera's frame has another size now"
    if before is not now and before.stamp_ns != now.stamp_ns:
        share = changed_share(before.pixels, now.pixels, tolerance.colour)
        if share > tolerance.cells:
            return f"{share:.1%} of the picture has changed since (at most {tolerance.cells:.1%} may)"
    if arm_before is None or arm_now is None:
        return None
    moved_m = float(np.linalg.norm(np.subtract(arm_now.position, arm_before.position)))
    if not moved_m <= tolerance.arm_m:
        return f"the arm has moved by {moved_m * 1e3:.0f} mm since (at most {tolerance.arm_m * 1e3:.0f} mm may be)"
    turned = multiply(arm_now.quaternion_xyzw, conjugate(arm_before.quaternion_xyzw))
    turned_rad = float(np.linalg.norm(axis_angle_from_quaternion(turned)))
    if turned_rad > tolerance.arm_rad:
        return f"the arm has turned by {turned_rad:.2f} rad since (at most {tolerance.arm_rad:.2f} rad may be)"
    return None


def changed_share(before: np.ndarray, now: np.ndarray, colour: float) -> float:
    """Share of a picture's cells whose mean colour differs by more than `colour`, of uint8 (H, W, 3) pictures of one
    size. What all cells have in common (exposure, a lamp) is no change of the scene."""
    difference = _cells(now) - _cells(before)
    difference -= np.median(difference, axis=(0, 1))
    return float((np.abs(difference).max(axis=-1) > colour).mean())


def _cells(pixels: np.ndarray) -> np.ndarray:
    """Mean colours float (CELLS, CELLS, 3) of a picture's cells."""
    return cv2.resize(pixels, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float64)
