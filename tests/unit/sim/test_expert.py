"""The expert as a function of poses alone."""

import numpy as np
import pytest

from magma_contracts.arm_state import ArmState
from magma_contracts.geometry.rotations import quaternion_from_axis_angle
from magma_sim.backends.tabletop.objects import GOALS, OBJECTS, TASKS
from magma_sim.experts.pick_and_place import ScriptedExpert
from magma_sim.tasks.interface import Pose
from magma_sim.tasks.skill import ExpertConfig

DOWN = np.array([1.0, 0.0, 0.0, 0.0])
LEVEL = np.array([0.0, 0.0, 0.0, 1.0])


def state(position: np.ndarray, gripper: float = 1.0, target: float = 1.0) -> ArmState:
    return ArmState(position, DOWN, position, DOWN, gripper, target)


def poses(task: str) -> dict[str, Pose]:
    goal = GOALS[task]
    source, target = OBJECTS[goal.source], OBJECTS[goal.target]
    return {
        goal.source: (np.array([0.50, 0.10, source.rest_height]), LEVEL),
        goal.target: (np.array([0.55, -0.12, target.rest_height]), LEVEL),
    }


@pytest.mark.parametrize("task", TASKS)
def test_has_no_memory_and_respects_its_limits(task: str) -> None:
    expert, rng = ScriptedExpert(task), np.random.default_rng(0)
    for _ in range(50):
        now = ArmState(
            rng.uniform([0.3, -0.3, 0.02], [0.7, 0.3, 0.3]),
            DOWN,
            rng.uniform([0.3, -0.3, 0.02], [0.7, 0.3, 0.3]),
            quaternion_from_axis_angle(np.array([np.pi, 0.1, 0.2])),
            float(rng.uniform()),
            float(rng.uniform()),
        )
        action = expert.act(now, poses(task))
        assert np.linalg.norm(action[:3]) <= 0.05 + 1e-9
        assert np.linalg.norm(action[3:6]) <= 0.30 + 1e-9
        assert action[6] in (0.0, 1.0)
        assert np.array_equal(ScriptedExpert(task).act(now, poses(task)), action)


@pytest.mark.parametrize("task", TASKS)
def test_closes_at_the_grasp_and_then_lifts(task: str) -> None:
    goal, scene = GOALS[task], poses(task)
    source = OBJECTS[goal.source]
    grasp = scene[goal.source][0] + [0.0, 0.0, source.grasp_height - source.rest_height]
    assert ScriptedExpert(task).act(state(grasp), scene)[6] == 0.0
    lift = ScriptedExpert(task).act(state(grasp, gripper=source.grasp_width / 0.08, target=0.0), scene)
    assert lift[6] == 0.0 and lift[2] > 0.03


@pytest.mark.parametrize("task", TASKS)
def test_rests_when_the_work_is_done(task: str) -> None:
    goal, scene = GOALS[task], poses(task)
    target = OBJECTS[goal.target]
    top = target.support_height - target.rest_height
    on_top = scene[goal.target][0] + [0.0, 0.0, top + OBJECTS[goal.source].rest_height]
    scene[goal.source] = (on_top, LEVEL)
    action = ScriptedExpert(task).act(state(np.array([0.5, 0.0, 0.22])), scene)
    assert np.array_equal(action, [0, 0, 0, 0, 0, 0, 1])


def test_says_which_pose_is_missing() -> None:
    scene = poses("carrot_on_plate")
    del scene["plate"]
    with pytest.raises(KeyError, match="plate"):
        ScriptedExpert("carrot_on_plate").act(state(np.array([0.5, 0.0, 0.2])), scene)


def test_configuration_is_checked() -> None:
    with pytest.raises(ValueError, match="max_step"):
        ExpertConfig(max_step=-0.1)
