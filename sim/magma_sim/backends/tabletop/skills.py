"""The tabletop tasks as the expert sees them."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from magma_sim.backends.tabletop.layouts import WORKSPACE_HIGH, WORKSPACE_LOW
from magma_sim.backends.tabletop.objects import BASKET_RIM_HEIGHT, GOALS, OBJECTS, Goal
from magma_sim.backends.tabletop.success import placed
from magma_sim.tasks.skill import ExpertConfig, Poses, Skill, Workspace

_GAP_OPEN_M = 0.08
_WORKSPACE = Workspace(
    low=(0.30, -0.32, 0.004),
    high=(0.74, 0.32, 0.38),
    starts_low=(*WORKSPACE_LOW, 0.10),
    starts_high=(*WORKSPACE_HIGH, 0.30),
)
_SHALLOW = 0.006
"""a spoon is flat: fingers that close higher above the grasp miss it, m"""


def _rest_height(goal: Goal, poses: Poses) -> float:
    source, target = OBJECTS[goal.source], OBJECTS[goal.target]
    top = float(poses[goal.target][0][2]) - target.rest_height + target.support_height
    inside = BASKET_RIM_HEIGHT * 0.35 if goal.target == "basket" else 0.0
    return top + source.rest_height + inside


def _clear_height(goal: Goal, poses: Poses) -> float:
    target = OBJECTS[goal.target]
    return max(0.135, float(poses[goal.target][0][2]) - target.rest_height + target.support_height + 0.095)


def _skill(goal: Goal) -> Skill:
    source = OBJECTS[goal.source]
    # A block looks the same after a quarter turn, every other source after a half turn of the gripper.
    period = np.pi / 2 if source.tip is None else np.pi
    config = ExpertConfig()
    if goal.source == "spoon":
        config = dataclasses.replace(config, close_above=_SHALLOW)
    return Skill(
        source=goal.source,
        target=goal.target,
        tool_down_xyzw=(1.0, 0.0, 0.0, 0.0),
        gap_closed=0.0,
        gap_open=_GAP_OPEN_M,
        source_width=source.grasp_width,
        grasp_above_origin=source.grasp_height - source.rest_height,
        grasp_offset=0.0,
        lowest_tool=0.010,
        heading_period=period,
        heading_start=-period / 2,
        placed=functools.partial(placed, goal),
        rest_height=functools.partial(_rest_height, goal),
        tip=source.tip,
        half_length=source.footprint_half[0],
        target_top=OBJECTS[goal.target].support_height - OBJECTS[goal.target].rest_height,
        workspace=_WORKSPACE,
        clear_height=functools.partial(_clear_height, goal),
        config=config,
    )


SKILLS: dict[str, Skill] = {task: _skill(goal) for task, goal in GOALS.items()}
