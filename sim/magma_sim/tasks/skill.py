"""What a scripted expert has to know of a task: the gripper, the object to grasp, and where it is to be put down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.rotations import rotate, yaw_from_quaternion
from magma_sim.tasks.interface import Pose

Poses = Mapping[str, Pose]


@dataclass(frozen=True)
class ExpertConfig:
    """Distances in metres, angles in radians. Heights are those of the tool centre point.

    Between an inner and an outer bound behaviour changes gradually: the closer the tool is to being lined up, the lower
    it may be. A policy that copies an expert with sharp bounds gets stuck right before them.
    """

    max_step: float = 0.05
    max_turn: float = 0.30
    hover: float = 0.085
    """height above the grasp at which the tool lines up"""
    align_inner: float = 0.008
    align_outer: float = 0.024
    """horizontal distance to the grasp from which the tool may be at it, and from which it hovers"""
    align_angle_inner: float = 0.15
    align_angle_outer: float = 0.45
    close_across: float = 0.013
    """horizontal distance to the grasp along the fingers' way within which they close"""
    close_along: float = 0.014
    """the same across their way"""
    close_above: float = 0.012
    """height above the grasp below which they close"""
    close_angle: float = 0.32
    hold_distance: float = 0.022
    hold_height: float = 0.018
    """how far the source may be from its place in the grasp and still count as between the fingers"""
    place_inner: float = 0.012
    place_outer: float = 0.055
    """horizontal distance to the place of release from which the source may be low, and from which it is carried"""
    place_above: float = 0.008
    """height above the release below which the fingers open"""
    place_clearance: float = 0.004
    """gap below the source at the height of release"""
    retreat_height: float = 0.20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value}")
        for inner, outer in (
            ("align_inner", "align_outer"),
            ("align_angle_inner", "align_angle_outer"),
            ("place_inner", "place_outer"),
        ):
            if getattr(self, inner) >= getattr(self, outer):
                raise ValueError(f"{inner} must be less than {outer}")


@dataclass(frozen=True)
class Workspace:
    """Corners of boxes that the tool centre point stays in when noise moves it; base frame, m."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    starts_low: tuple[float, float, float]
    starts_high: tuple[float, float, float]
    """box of unusual starts, over everything that stands there"""


@dataclass(frozen=True)
class Skill:
    """One pick-and-place task as an expert sees it; positions in the base frame, m."""

    source: str
    target: str
    tool_down_xyzw: tuple[float, float, float, float]
    """orientation of the tool that points down and grasps a source of heading 0"""
    gap_closed: float
    """between the fingers when the gripper's opening is 0"""
    gap_open: float
    """when it is 1"""
    source_width: float
    """between the fingers when grasped"""
    grasp_above_origin: float
    """height of the tool above the place of the grasp"""
    grasp_offset: float
    """distance from the source's origin to the place of the grasp, along the source's own x axis"""
    lowest_tool: float
    """the tool goes no lower"""
    heading_period: float
    """the gripper may grasp as well after so many radians more about the vertical"""
    heading_start: float
    """headings are taken from this one on, over one period"""
    placed: Callable[[Poses], bool]
    """whether the source lies where it should"""
    rest_height: Callable[[Poses], float]
    """height of the source's origin when it lies on or in the target"""
    tip: tuple[float, float, float] | None
    """end of the source's long axis in its own frame; None for a block, which has none"""
    half_length: float
    """from the source's origin to its side; of use for a block"""
    target_top: float
    """height in the target's own frame at which a source comes to rest"""
    workspace: Workspace
    clear_height: Callable[[Poses], float]
    """height at which the tool may carry the source to the target"""
    config: ExpertConfig = field(default_factory=ExpertConfig)

    def key_points(self, poses: Poses, tool: NDArray[np.float64]) -> NDArray[np.float64]:
        """Source centre, source tip, rest point on the target, and the tool at (3,): (4, 3) m, base frame."""
        source, rotation = poses[self.source]
        target, target_rotation = poses[self.target]
        if self.tip is not None:
            tip = source + rotate(rotation, np.array(self.tip))
        else:
            # A block has no long axis, but the gripper turns to its faces: the one nearest to the base's x axis shows
            # how.
            yaw = (yaw_from_quaternion(rotation) + np.pi / 4) % (np.pi / 2) - np.pi / 4
            tip = source + self.half_length * np.array([np.cos(yaw), np.sin(yaw), 0.0])
        rest = target + rotate(target_rotation, np.array([0.0, 0.0, self.target_top]))
        return np.stack([source, tip, rest, tool])

    def gap(self, opening: float) -> float:
        """Between the fingers at an opening 0 ... 1, m."""
        return self.gap_closed + opening * (self.gap_open - self.gap_closed)


def gradual(value: float, inner: float, outer: float) -> float:
    """0 up to `inner`, 1 from `outer` on, linear between."""
    return float(np.clip((value - inner) / (outer - inner), 0.0, 1.0))


def straight_to(vector: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """The vector, shortened to `length` when it is longer."""
    norm = float(np.linalg.norm(vector))
    return vector if norm <= length else vector * (length / norm)
