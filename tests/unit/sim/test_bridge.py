"""The Bridge tasks without their data files: layouts, success rule, camera, action coding, and what is said when files
are missing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_contracts.geometry.rotations import matrix_from_quaternion, quaternion_from_axis_angle, quaternion_from_yaw
from magma_sim import make_task, suite_tasks
from magma_sim.backends.simpler_bridge import cameras
from magma_sim.backends.simpler_bridge.assets import AssetsMissingError, check_assets
from magma_sim.backends.simpler_bridge.control import euler_xyz, finger_opening, finger_target, maniskill_action
from magma_sim.backends.simpler_bridge.goals import GOALS, TASKS
from magma_sim.backends.simpler_bridge.layouts import (
    EVALUATION_LAYOUTS,
    OFFICIAL_CLEARANCE_M,
    make_layout,
    nearest_official_m,
)
from magma_sim.backends.simpler_bridge.success import SuccessRule
from magma_sim.tasks.interface import Pose


def test_names_and_step_limits() -> None:
    assert suite_tasks()["simpler-bridge"] == TASKS
    assert {task: goal.max_steps for task, goal in GOALS.items()} == {
        "widowx_carrot_on_plate": 60,
        "widowx_spoon_on_towel": 60,
        "widowx_stack_cube": 60,
        "widowx_put_eggplant_in_basket": 120,
    }


@pytest.mark.parametrize("task", TASKS)
def test_official_episodes_are_24_different_ones(task: str) -> None:
    seen = set()
    for number in range(EVALUATION_LAYOUTS):
        layout = make_layout(task, "eval", number)
        seen.add(tuple(np.round(np.concatenate([*layout.source, *layout.target]), 6)))
    assert len(seen) == EVALUATION_LAYOUTS
    with pytest.raises(ValueError, match="0 to 23"):
        make_layout(task, "eval", EVALUATION_LAYOUTS)


def closest(task: str, source: Pose, target: Pose) -> float:
    """Distance to the most similar official episode, worked out anew: larger of the two objects' distances, m."""
    officials = [make_layout(task, "eval", number) for number in range(EVALUATION_LAYOUTS)]
    return min(
        max(np.hypot(*(source[0] - o.source[0])[:2]), np.hypot(*(target[0] - o.target[0])[:2])) for o in officials
    )


@pytest.mark.parametrize("task", TASKS)
def test_no_random_layout_is_an_official_one(task: str) -> None:
    for seed in range(300):
        layout = make_layout(task, "random", seed)
        assert closest(task, layout.source, layout.target) > OFFICIAL_CLEARANCE_M
    assert np.array_equal(make_layout(task, "random", 7).source[0], make_layout(task, "random", 7).source[0])
    assert not np.array_equal(make_layout(task, "random", 7).source[0], make_layout(task, "random", 8).source[0])


def test_an_official_layout_is_recognised_however_it_is_turned() -> None:
    layout = make_layout("widowx_stack_cube", "eval", 5)
    turned = (layout.source[0] + [0.001, 0, 0], quaternion_from_yaw(0.4))
    assert nearest_official_m("widowx_stack_cube", turned, layout.target) < 0.002


@given(st.lists(st.floats(-1.4, 1.4), min_size=3, max_size=3))
@settings(max_examples=200, deadline=None)
def test_euler_angles_mean_the_same_rotation(rotation: list[float]) -> None:
    a, b, c = euler_xyz(np.array(rotation))
    about = [matrix_from_quaternion(quaternion_from_axis_angle(v)) for v in (np.eye(3) * [a, b, c])]
    wanted = matrix_from_quaternion(quaternion_from_axis_angle(np.array(rotation)))
    assert np.allclose(about[0] @ about[1] @ about[2], wanted, atol=1e-9)


def test_gripper_coding() -> None:
    assert maniskill_action(np.array([0.0] * 6 + [1.0]))[6] == 1.0
    assert maniskill_action(np.array([0.0] * 6 + [0.0]))[6] == -1.0
    # The ends of SimplerEnv's range: the joint's limits and a millimetre more.
    assert (finger_target(0.0), finger_target(1.0)) == pytest.approx((0.014, 0.038))
    assert finger_opening(finger_target(0.3)) == pytest.approx(0.3)


def test_picture_sizes_share_one_view() -> None:
    setting = "flat_table"
    point = np.linalg.inv(cameras.extrinsics(setting)) @ [0.05, -0.02, 0.6, 1.0]
    where = {}
    for size in ((480, 640), (128, 128), (60, 80)):
        pixel = cameras.intrinsics(size) @ (cameras.extrinsics(setting) @ point)[:3]
        where[size] = pixel[:2] / pixel[2] / (size[1], size[0])
    assert np.allclose(where[128, 128], where[480, 640]) and np.allclose(where[60, 80], where[480, 640])
    assert cameras.render_size((128, 128)) == (256, 256) and cameras.render_size((480, 640)) == (480, 640)
    with pytest.raises(ValueError, match="pixels a side"):
        cameras.check_size((4, 4))


def test_photo_stands_wherever_nothing_kept_was_rendered() -> None:
    rendered = np.full((2, 3, 3), 10, dtype=np.uint8)
    photo = np.full((2, 3, 3), 200, dtype=np.uint8)
    segmentation = np.array([[0, 5, 7], [7, 9, 5]])
    picture = cameras.compose(rendered, segmentation, np.array([5, 9]), photo)
    assert (picture[..., 0] == [[200, 10, 200], [200, 10, 10]]).all()


def rule(task: str) -> SuccessRule:
    still = np.array([0.0, 0.0, 0.0, 1.0])
    return SuccessRule.after_settling(GOALS[task], np.full(3, 0.03), still, np.full(3, 0.03), still)


def test_success_rule() -> None:
    stack, below = rule("widowx_stack_cube"), np.zeros(3)
    assert stack.holds(np.array([0.0, 0.0, 0.03]), below, 0.3)
    assert not stack.holds(np.array([0.0, 0.0, 0.03]), below, 0.05)  # not pressed against it
    assert not stack.holds(np.array([0.025, 0.0, 0.03]), below, 0.3)  # beside it
    assert stack.holds(np.array([0.024, 0.0, 0.03]), below, 0.3)
    assert not stack.holds(np.array([0.0, 0.0, 0.051]), below, 0.3)  # above it
    assert not stack.holds(np.array([0.0, 0.0, -0.01]), below, 0.3)
    assert rule("widowx_spoon_on_towel").holds(np.array([0.0, 0.0, 0.03]), below, 0.0)  # a touch is not asked for


def test_missing_files_name_the_download(tmp_path: Path) -> None:
    with pytest.raises(AssetsMissingError) as raised:
        check_assets(tmp_path)
    assert "python -m mani_skill.utils.download_asset bridge_v2_real2sim" in str(raised.value)
    assert "python -m mani_skill.utils.download_asset widowx250s" in str(raised.value)
    assert "MS_ASSET_DIR" in str(raised.value)
    cv2.imwrite(str(tmp_path / "bridge_real_eval_1.png"), np.zeros((4, 4, 3), dtype=np.uint8))
    assert cameras.load_photo(tmp_path, "flat_table").shape == (4, 4, 3)
    with pytest.raises(FileNotFoundError, match="bridge_sink"):
        cameras.load_photo(tmp_path, "sink")


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"did you mean widowx_stack_cube\?"):
        make_task("widowx_juggle")
    with pytest.raises(ValueError, match="simpler-bridge: widowx_carrot_on_plate"):
        make_task("?")
    with pytest.raises(ValueError, match="no option size"):
        make_task("widowx_stack_cube", size=3)
