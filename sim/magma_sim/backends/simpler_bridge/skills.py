"""The Bridge tasks as the expert sees them. Heights are measured in the simulator, base frame."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

import numpy as np

from magma_sim.backends.simpler_bridge.goals import GOALS, BridgeGoal
from magma_sim.skills import ExpertConfig, Poses, Skill

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
    symmetric_quarter: bool = False
    grasp_offset: float = 0.0


_SHAPES = {
    "widowx_carrot_on_plate": _Shape(0.030, 0.002, 0.020, 0.040, 0.0, 0.105),
    "widowx_spoon_on_towel": _Shape(0.034, 0.006, 0.014, 0.045, 0.0, 0.105, grasp_offset=-0.045),
    "widowx_stack_cube": _Shape(0.030, 0.005, 0.030, 0.015, 0.0, 0.120, symmetric_quarter=True),
    "widowx_put_eggplant_in_basket": _Shape(0.034, 0.002, 0.022, 0.055, 0.066, 0.235),
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
    period = math.pi / 2 if shape.symmetric_quarter else math.pi
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
        heading_start=-math.pi / 4 if shape.symmetric_quarter else -math.pi / 3,
        placed=functools.partial(_placed, goal, shape),
        rest_height=functools.partial(_rest_height, goal, shape),
        clear_height=lambda poses: shape.clear,
        config=config,
    )


SKILLS: dict[str, Skill] = {task: _skill(goal) for task, goal in GOALS.items()}
