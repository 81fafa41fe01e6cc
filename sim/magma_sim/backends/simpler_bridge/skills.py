"""The Bridge tasks as the expert sees them. Heights are measured in the simulator, base frame."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

import numpy as np

from magma_sim.backends.simpler_bridge.goals import GOALS, BridgeGoal, Setting
from magma_sim.tasks.skill import ExpertConfig, Poses, Skill, Workspace

_GAP_CLOSED_M, _GAP_OPEN_M = 0.008, 0.056
"""between the finger tips at the openings 0 and 1"""
TIP_BELOW_TOOL_M = 0.0156
"""the finger tips reach so far beyond `ee_gripper_link`"""


@dataclass(frozen=True)
class _Shape:
    """Measures of a task's objects, m."""

    width: float
    """of the source between the fingers"""
    grasp_above_origin: float
    rests_above_target: float
    """height of the source's origin above the target's when it lies there"""
    placed_radius: float
    floor: float
    """height of the ground on which the source lies at first"""
    clear: float
    """height of the tool at which everything passes below the carried source"""
    target_top: float
    """height of the target's upper side above its origin"""
    tip: tuple[float, float, float] | None
    """end of the source's long axis in its own frame; None: a cube"""
    grasp_offset: float = 0.0


_SHAPES = {
    "widowx_carrot_on_plate": _Shape(
        width=0.030, grasp_above_origin=0.002, rests_above_target=0.020, placed_radius=0.040, floor=0.0, clear=0.105,
        target_top=0.006, tip=(0.054, 0.0, 0.0),
    ),
    "widowx_spoon_on_towel": _Shape(
        width=0.034, grasp_above_origin=0.006, rests_above_target=0.014, placed_radius=0.045, floor=0.0, clear=0.105,
        target_top=0.006, tip=(0.067, 0.0, 0.004), grasp_offset=-0.045,
    ),
    "widowx_stack_cube": _Shape(
        width=0.030, grasp_above_origin=0.005, rests_above_target=0.030, placed_radius=0.015, floor=0.0, clear=0.120,
        target_top=0.015, tip=None,
    ),
    "widowx_put_eggplant_in_basket": _Shape(
        width=0.034, grasp_above_origin=0.002, rests_above_target=0.022, placed_radius=0.055, floor=0.066, clear=0.235,
        target_top=0.001, tip=(-0.045, 0.0, 0.0),
    ),
}  # fmt: skip
_WORKSPACES: dict[Setting, Workspace] = {
    "flat_table": Workspace(
        low=(0.15, -0.20, 0.014),
        high=(0.48, 0.26, 0.28),
        starts_low=(0.19, -0.10, 0.09),
        starts_high=(0.42, 0.16, 0.22),
    ),
    "sink": Workspace(
        low=(0.14, -0.26, 0.080),
        high=(0.42, 0.14, 0.36),
        starts_low=(0.18, -0.20, 0.19),
        starts_high=(0.32, 0.08, 0.30),
    ),
}
_CONFIG = ExpertConfig(
    hover=0.075,
    align_inner=0.004,
    align_outer=0.018,
    close_across=0.009,
    close_along=0.012,
    close_above=0.010,
    place_inner=0.008,
    place_outer=0.045,
    retreat_height=0.14,
)


def _placed(goal: BridgeGoal, shape: _Shape, poses: Poses) -> bool:
    offset = poses[goal.source][0] - poses[goal.target][0]
    height_tolerance = 0.03 if goal.setting == "sink" else 0.008
    return bool(
        np.hypot(*offset[:2]) < shape.placed_radius
        and offset[2] > 0
        and abs(offset[2] - shape.rests_above_target) < height_tolerance
    )


def _rest_height(goal: BridgeGoal, shape: _Shape, poses: Poses) -> float:
    return float(poses[goal.target][0][2]) + shape.rests_above_target


def _skill(goal: BridgeGoal) -> Skill:
    shape = _SHAPES[goal.task]
    config = _CONFIG
    if goal.setting == "sink":
        config = dataclasses.replace(
            config, retreat_height=0.235, place_clearance=0.02, place_inner=0.02,
            place_above=0.02, close_above=0.02, hover=0.085,
        )  # fmt: skip
    elif "spoon" in goal.source:
        # A spoon is flat and slips from fingers that hold it high.
        config = dataclasses.replace(config, close_above=0.008)
    period = math.pi / 2 if shape.tip is None else math.pi
    return Skill(
        source=goal.source,
        target=goal.target,
        tool_down_xyzw=(0.0, math.sqrt(0.5), 0.0, math.sqrt(0.5)),
        gap_closed=_GAP_CLOSED_M,
        gap_open=_GAP_OPEN_M,
        source_width=shape.width,
        grasp_above_origin=shape.grasp_above_origin,
        grasp_offset=shape.grasp_offset,
        lowest_tool=shape.floor + TIP_BELOW_TOOL_M + 0.001,
        heading_period=period,
        # Official carrots and spoons head along x or along y: neither is near the ends of this range.
        heading_start=-math.pi / 4 if shape.tip is None else -math.pi / 3,
        placed=functools.partial(_placed, goal, shape),
        rest_height=functools.partial(_rest_height, goal, shape),
        tip=shape.tip,
        half_length=shape.width / 2,
        target_top=shape.target_top,
        workspace=_WORKSPACES[goal.setting],
        clear_height=lambda poses: shape.clear,
        config=config,
    )


SKILLS: dict[str, Skill] = {task: _skill(goal) for task, goal in GOALS.items()}
