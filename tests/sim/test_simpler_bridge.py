"""The Bridge tasks in the simulator, against ManiSkill's own environments. Needs their data files and a device that
renders; see sim/README.md."""

from __future__ import annotations

import importlib
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from magma_sim import make_task
from magma_sim.backends.shared.rendering import choose_render_device
from magma_sim.backends.simpler_bridge.assets import data_folder, missing_downloads
from magma_sim.backends.simpler_bridge.control import maniskill_action
from magma_sim.backends.simpler_bridge.goals import GOALS, TASKS
from magma_sim.backends.simpler_bridge.layouts import make_layout
from magma_sim.backends.simpler_bridge.scene import CONTROL_MODE
from magma_sim.experts.pick_and_place import make_expert

pytestmark = [
    pytest.mark.render,
    pytest.mark.skipif(
        bool(missing_downloads(data_folder())), reason=f"data files of the Bridge tasks are not in {data_folder()}"
    ),
]
MODULE = "mani_skill.envs.tasks.digital_twins.bridge_dataset_eval.put_on_in_scene"


def maniskill_environment(task: str) -> Any:
    """ManiSkill's own environment, with overlays of its own (at class level they would be shared)."""

    class Environment(getattr(importlib.import_module(MODULE), GOALS[task].environment)):  # type: ignore[misc]
        _rgb_overlay_images: dict = {}  # noqa: RUF012
        _objects_to_remove_from_greenscreen: list = []  # noqa: RUF012

        def _setup_scene(self) -> None:
            self._render_device = self.backend.render_device = choose_render_device()
            super()._setup_scene()

    return Environment(
        obs_mode="rgb+segmentation", control_mode=CONTROL_MODE, sim_backend="physx_cpu", render_backend="none"
    )


@pytest.fixture(scope="module", params=["widowx_carrot_on_plate", "widowx_put_eggplant_in_basket"])
def both(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, maniskill_environment(request.param)


def test_same_actions_same_world_as_in_maniskill(both: tuple[str, Any]) -> None:
    name, theirs = both
    source = GOALS[name].source
    ours = make_task(name, image_size=(480, 640))
    now = ours.reset("eval", 13)
    theirs.reset(options={"episode_id": torch.tensor([13])})
    rng = np.random.default_rng(0)
    for _ in range(8):  # free motion; once something is touched, float32 and float64 go different ways
        action = np.array([*rng.uniform(-0.03, 0.02, 3), *rng.uniform(-0.25, 0.25, 3), float(rng.random() > 0.5)])
        action[2] = abs(action[2])
        now = ours.step(action)
        command = torch.tensor(maniskill_action(action)[None], dtype=torch.float32)
        seen, *_, info = theirs.step(command)
        assert bool(info["success"][0]) == now.success
    robot = theirs.agent.robot._objs[0]
    assert np.allclose(robot.qpos, list(ours.joint_positions.values()), atol=1e-3)
    target = theirs.agent.controller.controllers["arm"]._target_pose
    assert np.allclose(target.p[0], now.end_effector.target_position, atol=1e-5)
    object_pose = robot.root_pose.inv() * theirs.objs[source]._objs[0].pose
    assert np.allclose(object_pose.p, now.object_poses[source][0], atol=2e-4)
    picture = seen["sensor_data"]["3rd_view_camera"]["rgb"][0].numpy()
    assert now.image is not None and (np.abs(picture.astype(int) - now.image).max(axis=2) > 8).mean() < 0.002


def test_official_layouts_are_maniskills(both: tuple[str, Any]) -> None:
    name, theirs = both
    for number in range(24):
        place, turn = divmod(number, len(theirs.quat_configs))
        layout = make_layout(name, "eval", number)
        for index, (position, quaternion) in enumerate((layout.source, layout.target)):
            assert np.allclose(theirs.xyz_configs[place, index], position, atol=1e-6)
            w, *xyz = (float(value) for value in theirs.quat_configs[turn, index])
            assert abs(float(np.dot(quaternion, [*xyz, w]))) == pytest.approx(1.0, abs=1e-4)


def test_small_picture_is_the_large_one_reduced() -> None:
    small = make_task("widowx_spoon_on_towel")
    now = small.reset("eval", 3)
    large = small.render_large()
    assert now.image is not None and now.image.shape == (128, 128, 3) and large.shape == (480, 640, 3)
    reduced = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - now.image).mean() < 2.0
    matrix, extrinsics = small.spec.camera_intrinsics, small.spec.camera_extrinsics
    for name in ("table_cloth_generated_shorter",):
        pixel = matrix @ (extrinsics @ np.append(now.object_poses[name][0], 1.0))[:3]
        u, v = pixel[:2] / pixel[2]
        red, green, blue = (int(value) for value in now.image[int(v), int(u)])
        assert blue > red + 20 and blue >= green, "the towel is light blue"


def test_same_layout_same_pixels_whatever_was_played_before() -> None:
    pictures, joints = [], []
    for before in ("widowx_stack_cube", "carrot_on_plate"):
        make_task(before).reset("random", 3)
        world, expert = make_task("widowx_carrot_on_plate"), make_expert("widowx_carrot_on_plate")
        now = world.reset("eval", 4)
        for _ in range(14):
            now = world.step(expert.act(now.end_effector, now.object_poses), render=False)
        pictures.append(world.step(np.array([0.0] * 6 + [0.0])).image)
        joints.append(list(world.joint_positions.values()))
    assert np.array_equal(*pictures) and joints[0] == joints[1]


@pytest.mark.parametrize("task", TASKS)
def test_expert_solves_an_official_and_a_random_layout(task: str) -> None:
    world, expert = make_task(task, images=False), make_expert(task)
    for variant, number in (("eval", 7), ("random", 2)):
        now = world.reset(variant, number)  # type: ignore[arg-type]
        assert not now.success and now.image is None
        for _ in range(35):
            now = world.step(expert.act(now.end_effector, now.object_poses))
        assert now.success, (variant, number)


def test_a_target_out_of_reach_keeps_the_joints() -> None:
    world = make_task("widowx_stack_cube", images=False)
    now = world.reset("eval", 0)
    for _ in range(6):
        now = world.step(np.array([0.2, 0, 0, 0, 0, 0, 1.0]))
    # As in SimplerEnv the target goes on without the arm.
    assert now.end_effector.target_position[0] > 1.3 and now.end_effector.position[0] < 0.8
    with pytest.raises(ValueError, match="cannot reach"):
        world.reset(  # type: ignore[call-arg]
            "eval", 0, start_position=np.array([2.0, 0, 0.2]), start_quaternion_xyzw=np.array([0, 0.7071, 0, 0.7071])
        )
