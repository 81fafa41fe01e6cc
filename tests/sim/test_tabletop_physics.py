"""The tabletop world without rendering: exact targets, determinism, success, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from magma_contracts.geometry.rotations import conjugate, multiply_left_to_right, quaternion_from_axis_angle
from magma_data.demonstrations import read_episode
from magma_data.reader import Dataset
from magma_sim.backends.tabletop.layouts import EVALUATION_LAYOUTS
from magma_sim.backends.tabletop.objects import GOALS, OBJECTS, TASKS
from magma_sim.backends.tabletop.task import TabletopTask
from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.demonstrations.generation import generate
from magma_sim.experts.pick_and_place import ScriptedExpert
from magma_sim.tasks.interface import Observation

STILL = np.array([0.0, 0, 0, 0, 0, 0, 1])


def play(task: str, variant: str, layout: int, steps: int = 60) -> list[Observation]:
    world, expert = TabletopTask(task, images=False), ScriptedExpert(task)
    seen = [world.reset(variant, layout)]  # type: ignore[arg-type]
    for _ in range(steps):
        seen.append(world.step(expert.act(seen[-1].end_effector, seen[-1].object_poses)))
    return seen


def flat(observation: Observation) -> np.ndarray:
    poses = [np.concatenate(pose) for _, pose in sorted(observation.object_poses.items())]
    arm = observation.end_effector
    return np.concatenate([arm.position, arm.quaternion_xyzw, arm.target_position, [arm.gripper], *poses])


def test_deltas_applied_open_loop_move_the_target_exactly() -> None:
    world = TabletopTask("stack_blocks", images=False)
    before = world.reset("random", 5).end_effector
    rng = np.random.default_rng(0)
    position, quaternion = before.target_position, before.target_quaternion_xyzw
    for _ in range(12):
        action = np.array([*rng.uniform(-0.02, 0.02, 3), *rng.uniform(-0.15, 0.15, 3), 1.0])
        position = position + action[:3]
        quaternion = multiply_left_to_right(quaternion_from_axis_angle(action[3:6]), quaternion)
        state = world.step(action).end_effector
        assert np.allclose(state.target_position, position, atol=1e-12)
        assert np.isclose(abs(state.target_quaternion_xyzw @ quaternion), 1.0, atol=1e-12)
    for _ in range(4):
        state = world.step(STILL).end_effector
    # The arm arrives where the target is.
    assert np.linalg.norm(state.position - state.target_position) < 0.002
    error = multiply_left_to_right(state.quaternion_xyzw, conjugate(state.target_quaternion_xyzw))
    assert np.linalg.norm(error[:3]) < 0.01


def test_rotation_is_about_axes_of_the_base() -> None:
    world = TabletopTask("stack_blocks", images=False)
    world.reset("random", 5)
    turned = world.step(np.array([0, 0, 0, 0, 0, 0.3, 1.0])).end_effector.target_quaternion_xyzw
    # The tool points down; after a turn about the base's z it still does, with the fingers' axis turned by 0.3 rad.
    assert np.allclose(
        turned, multiply_left_to_right(np.array([0, 0, np.sin(0.15), np.cos(0.15)]), [1.0, 0, 0, 0]), atol=1e-5
    )


@pytest.mark.parametrize("task", TASKS)
def test_expert_succeeds_and_stays_done(task: str) -> None:
    for variant, layout in (("eval", 4), ("eval", 17), ("random", 1234)):
        seen = play(task, variant, layout)
        assert seen[-1].success, (variant, layout)
        first = next(observation.step for observation in seen if observation.success)
        assert first <= 35
        assert not seen[0].success
        arm = seen[-1].end_effector
        assert arm.gripper > 0.9 and arm.position[2] > 0.18


def test_same_layout_and_actions_same_trajectory_whatever_was_played_before() -> None:
    once = [flat(observation) for observation in play("eggplant_in_basket", "random", 3, 22)]
    play("spoon_on_towel", "random", 5, 12)
    play("eggplant_in_basket", "eval", 3, 15)
    again = [flat(observation) for observation in play("eggplant_in_basket", "random", 3, 22)]
    assert np.array_equal(once, again)


def test_nothing_moves_by_itself() -> None:
    for task in TASKS:
        world = TabletopTask(task, images=False)
        start = world.reset("eval", 0)
        for _ in range(5):
            now = world.step(STILL)
        assert np.allclose(now.end_effector.position, start.end_effector.position, atol=1e-3)
        for name, (position, _) in start.object_poses.items():
            assert np.linalg.norm(now.object_poses[name][0] - position) < 0.003, name
        assert set(now.object_poses) == set(world.layout.placements)


def test_gripper_opens_and_closes_to_where_it_is_told() -> None:
    world = TabletopTask("stack_blocks", images=False)
    world.reset("eval", 0)
    for opening in (0.0, 0.6, 1.0):
        for _ in range(4):
            state = world.step(np.array([0, 0, 0, 0, 0, 0, opening])).end_effector
        assert state.gripper_target == opening
        assert state.gripper == pytest.approx(opening, abs=0.12)


def test_held_source_is_no_success() -> None:
    task = "carrot_on_plate"
    seen = play(task, "eval", 0)
    first = next(observation.step for observation in seen if observation.success)
    for observation in seen[:first]:
        held = np.linalg.norm(observation.end_effector.position - observation.object_poses["carrot"][0]) < 0.02
        assert not (held and observation.success)


def test_source_taken_away_again_is_no_success_any_more() -> None:
    goal = GOALS["stack_blocks"]
    world, expert = TabletopTask("stack_blocks", images=False), ScriptedExpert("stack_blocks")
    now = world.reset("eval", 1)
    while not now.success:
        now = world.step(expert.act(now.end_effector, now.object_poses))
    # Push the upper block with the closed gripper: down to its height beside it, then through where it was.
    block = now.object_poses[goal.source][0]
    for offset in ((-0.09, 0.0, 0.1), (-0.09, 0.0, 0.01), (0.06, 0.0, 0.01)):
        goal_point = block + np.array(offset)
        for _ in range(8):
            move = goal_point - now.end_effector.target_position
            move *= min(1.0, 0.05 / max(np.linalg.norm(move), 1e-9))
            now = world.step(np.array([*move, 0, 0, 0, 0.0]))
    assert not now.success
    assert np.linalg.norm(now.object_poses[goal.source][0] - block) > 0.03


def test_unreachable_target_is_refused_and_the_gripper_still_obeys() -> None:
    world = TabletopTask("stack_blocks", images=False)
    before = world.reset("eval", 0).end_effector
    after = world.step(np.array([3.0, 0, 0, 0, 0, 0, 0.0])).end_effector
    assert np.array_equal(after.target_position, before.target_position)
    assert after.gripper_target == 0.0
    assert np.allclose(after.position, before.position, atol=2e-3)


def test_bad_actions_move_nothing() -> None:
    world = TabletopTask("stack_blocks", images=False)
    with pytest.raises(RuntimeError, match="reset"):
        world.step(STILL)
    world.reset("eval", 0)
    reference = flat(world.step(STILL))
    world.reset("eval", 0)
    with pytest.raises(ValueError, match="finite"):
        world.step(np.full(7, np.nan))
    with pytest.raises(ValueError, match="shape"):
        world.step(np.zeros(3))
    after = world.step(STILL)
    assert after.step == 1
    assert np.array_equal(flat(after), reference)


def test_tasks_share_a_scene_and_say_so() -> None:
    first, second = TabletopTask("stack_blocks", images=False), TabletopTask("carrot_on_plate", images=False)
    first.reset("eval", 0)
    second.reset("eval", 0)
    with pytest.raises(RuntimeError, match="share one scene"):
        first.step(STILL)
    second.close()
    with pytest.raises(RuntimeError, match="closed"):
        second.reset("eval", 0)


def test_spec_and_refusals_of_reset() -> None:
    world = TabletopTask("eggplant_in_basket", images=False)
    spec = world.spec
    assert (spec.step_period_s, spec.frame, spec.rotation, spec.gripper) == (
        0.2,
        "base",
        "axis_angle",
        "absolute_open_1",
    )
    assert spec.instruction == "put the eggplant in the basket" and spec.max_steps == 60
    assert world.evaluation_layouts == EVALUATION_LAYOUTS == 24
    assert set(spec.object_names) == set(OBJECTS)
    for variant, layout in (("eval", 24), ("eval", -1), ("train", 0)):
        with pytest.raises(ValueError):
            world.reset(variant, layout)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot reach"):
        world.reset("random", 0, start_position=np.array([2.0, 0.0, 0.2]))
    with pytest.raises(RuntimeError, match="images=False"):
        world.render_large()
    assert world.reset("random", 0).image is None


def test_parallel_demonstrations_without_pictures_equal_serial_ones(tmp_path: Path) -> None:
    runs = {}
    for workers in (1, 2):
        config = DemonstrationConfig(
            out=tmp_path / str(workers), tasks=("carrot_on_plate",), episodes=2, seed=40, workers=workers, images=False
        )
        rows = generate(config)
        assert rows["carrot_on_plate"]["episodes"] == 2
        runs[workers] = {}
        dataset = Dataset(config.out)
        assert not dataset.info.cameras
        for episode in dataset.episodes:
            runs[workers][episode.name] = read_episode(dataset, episode)["proprioception"]
    assert runs[1].keys() == runs[2].keys()
    for name, states in runs[1].items():
        assert np.array_equal(states, runs[2][name]), name
