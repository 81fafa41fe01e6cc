"""The four Bridge tasks of SimplerEnv: names, objects, limits and success rules, as data.

Names, instructions, step limits and rules are SimplerEnv's own (Li et al., "Evaluating Real-World Robot Manipulation
Policies in Simulation", 2024; https://github.com/simpler-env/SimplerEnv), numbers as in ManiSkill 3.0.1's port
(`mani_skill/envs/tasks/digital_twins/bridge_dataset_eval`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SUITE = "simpler-bridge"
Setting = Literal["flat_table", "sink"]
ROBOTS: dict[Setting, str] = {"flat_table": "widowx", "sink": "widowx_sink_camera_setup"}
"""SimplerEnv's name of the arm with the camera of a setting"""


@dataclass(frozen=True)
class BridgeGoal:
    """One task: bring the source onto or into the target. Object names are the model names of the data set."""

    task: str
    """SimplerEnv's name"""
    place: int
    """in SimplerEnv's own order"""
    environment: str
    """ManiSkill's class in `bridge_dataset_eval.put_on_in_scene`"""
    instruction: str
    source: str
    target: str
    setting: Setting
    """table and camera"""
    max_steps: int
    needs_contact: bool
    """whether success needs a force of more than 0.05 N between source and target"""
    height_margin_m: float
    """how far the source may be above where its half height and the target's add up to"""


GOALS: dict[str, BridgeGoal] = {
    goal.task: goal
    for goal in (
        BridgeGoal(
            task="widowx_carrot_on_plate",
            place=1,
            environment="PutCarrotOnPlateInScene",
            instruction="put carrot on plate",
            source="bridge_carrot_generated_modified",
            target="bridge_plate_objaverse_larger",
            setting="flat_table",
            max_steps=60,
            needs_contact=True,
            height_margin_m=0.02,
        ),
        BridgeGoal(
            task="widowx_spoon_on_towel",
            place=0,
            environment="PutSpoonOnTableClothInScene",
            instruction="put the spoon on the towel",
            source="bridge_spoon_generated_modified",
            target="table_cloth_generated_shorter",
            setting="flat_table",
            max_steps=60,
            needs_contact=False,
            height_margin_m=0.02,
        ),
        BridgeGoal(
            task="widowx_stack_cube",
            place=2,
            environment="StackGreenCubeOnYellowCubeBakedTexInScene",
            instruction="stack the green block on the yellow block",
            source="baked_green_cube_3cm",
            target="baked_yellow_cube_3cm",
            setting="flat_table",
            max_steps=60,
            needs_contact=True,
            height_margin_m=0.02,
        ),
        BridgeGoal(
            task="widowx_put_eggplant_in_basket",
            place=3,
            environment="PutEggplantInBasketScene",
            instruction="put eggplant into yellow basket",
            source="eggplant",
            target="dummy_sink_target_plane",
            setting="sink",
            max_steps=120,
            needs_contact=False,
            height_margin_m=0.06,
        ),
    )
}
TASKS: tuple[str, ...] = tuple(GOALS)


def goal_of(task: str) -> BridgeGoal:
    """The goal of a task, or a ValueError naming the tasks that exist."""
    try:
        return GOALS[task]
    except KeyError:
        raise ValueError(f"unknown task {task!r}; the {SUITE} suite has {', '.join(TASKS)}") from None
