"""Pictures of the tabletop world, and what is built on them: demonstrations and videos."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from magma_data.demonstrations import read_episode, read_frames
from magma_data.reader import Dataset
from magma_sim import make_task
from magma_sim.backends.tabletop.objects import GOALS, TASKS
from magma_sim.demonstrations.config import DemonstrationConfig, NoiseConfig
from magma_sim.demonstrations.files import episode_name
from magma_sim.demonstrations.generation import generate
from magma_sim.demonstrations.recording import project
from magma_sim.experts.pick_and_place import ScriptedExpert
from magma_sim.registry import skill_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import foreign_copies

pytestmark = pytest.mark.render

HUES = {"carrot": (5, 20), "green_block": (50, 75), "yellow_block": (22, 35), "eggplant": (130, 160)}
"""range of OpenCV hues (0 to 179) by which an object is recognised in the picture"""


def test_picture_shape_and_size() -> None:
    world = make_task("carrot_on_plate")
    first = world.reset("eval", 0)
    assert first.image is not None
    assert first.image.shape == (world.spec.image_height, world.spec.image_width, 3) == (128, 128, 3)
    assert first.image.dtype == np.uint8
    assert 40 < first.image.mean() < 220
    assert world.render_large().shape == (512, 512, 3)
    assert world.step(np.array([0, 0, 0, 0, 0, 0, 1.0]), render=False).image is None


def test_same_layout_same_pixels_whatever_was_played_before() -> None:
    pictures = []
    for other in ("spoon_on_towel", "eggplant_in_basket"):
        make_task(other).reset("random", 9)
        world, expert = make_task("stack_blocks"), ScriptedExpert("stack_blocks")
        now = world.reset("random", 3)
        for _ in range(8):
            now = world.step(expert.act(now.end_effector, now.object_poses))
        pictures.append(now.image)
    assert np.array_equal(*pictures)


def test_what_is_shown_once_more_looks_as_it_did() -> None:
    world, expert = make_task("carrot_on_plate"), ScriptedExpert("carrot_on_plate")
    now = world.reset("eval", 2)
    snapshots, pictures = [], []
    for _ in range(24):
        snapshots.append(world.snapshot())
        pictures.append(world.render_large())
        now = world.step(expert.act(now.end_effector, now.object_poses), render=False)
    assert now.object_poses["carrot"][0][2] > 0.02, "the carrot is lifted by then"
    for number in (23, 0, 12):
        world.show(snapshots[number])
        difference = np.abs(world.render_large().astype(int) - pictures[number])
        assert difference.max() <= 2, "to float32's accuracy of joints and poses"
    with pytest.raises(ValueError, match="joints"):
        world.show(snapshots[0][:-1])


@pytest.mark.parametrize("task", TASKS)
def test_marks_lie_on_what_they_mark(task: str) -> None:
    goal, world = GOALS[task], make_task(task)
    for layout in (0, 11):
        now = world.reset("eval", layout)
        camera = (world.spec.camera_intrinsics, world.spec.camera_extrinsics)
        marks = project(skill_of(task).key_points(now.object_poses, now.end_effector.position), *camera)
        assert ((marks > 0) & (marks < 128)).all()
        hue = cv2.cvtColor(now.image, cv2.COLOR_RGB2HSV)[..., 0]
        for name, (u, v) in ((goal.source, marks[0]), (goal.target, marks[2])):
            if name in HUES:
                low, high = HUES[name]
                around = hue[int(v) - 1 : int(v) + 2, int(u) - 1 : int(u) + 2]
                assert ((around >= low) & (around <= high)).any(), (name, around)


def test_layouts_differ_to_the_eye() -> None:
    world = make_task("carrot_on_plate")
    first, second = world.reset("eval", 0).image, world.reset("eval", 1).image
    assert np.abs(first.astype(int) - second.astype(int)).mean() > 2


def recorded(out: Path, task: str) -> dict[str, np.ndarray]:
    """The arrays of the episode of seed 3."""
    dataset = Dataset(out)
    (episode,) = (one for one in dataset.episodes if one.name == episode_name(task, 3))
    frames = read_frames(dataset, episode)
    return read_episode(dataset, episode) | ({} if frames is None else {"frames": frames})


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> DemonstrationConfig:
    out = tmp_path_factory.mktemp("demonstrations")
    config = DemonstrationConfig(out=out, tasks=("stack_blocks", "carrot_on_plate"), episodes=1, seed=3)
    generate(config)
    return config


def test_files_of_a_demonstration(demonstrations: DemonstrationConfig) -> None:
    world = make_task("stack_blocks")
    episode = recorded(demonstrations.out, "stack_blocks")
    steps = len(episode["actions"])
    shapes = {
        "frames": ((steps, 128, 128, 3), np.uint8),
        "proprioception": ((steps, 16), np.float32),
        "actions": ((steps, 7), np.float32),
        "executed": ((steps, 7), np.float32),
        "points": ((steps, 4, 3), np.float32),
        "marks": ((steps, 4, 2), np.float32),
    }
    for name, (shape, dtype) in shapes.items():
        assert episode[name].shape == shape and episode[name].dtype == dtype, name
    assert str(episode["instruction"]) == "stack the green block on the yellow block"
    assert str(episode["task"]) == "stack_blocks"
    assert bool(episode["success"])
    camera = (world.spec.camera_intrinsics, world.spec.camera_extrinsics)
    assert np.allclose(episode["marks"], project(episode["points"].astype(np.float64), *camera), atol=0.01)
    # The target follows from the executed actions, and labels stay within the expert's limits.
    moved = episode["proprioception"][:, 7:10]
    assert np.allclose(np.diff(moved, axis=0), episode["executed"][:-1, :3], atol=1e-5)
    assert (np.linalg.norm(episode["actions"][:, :3], axis=1) <= 0.0501).all()
    assert np.isin(episode["actions"][:, 6], (0.0, 1.0)).all()


def test_frames_are_what_a_policy_sees(demonstrations: DemonstrationConfig) -> None:
    episode = recorded(demonstrations.out, "carrot_on_plate")
    frames, executed = episode["frames"], episode["executed"]
    start = episode["proprioception"][0]
    world = make_task("carrot_on_plate")
    position, quaternion = start[7:10].astype(np.float64), start[10:14].astype(np.float64)
    now = world.reset("random", 3, start_position=position, start_quaternion_xyzw=quaternion)  # type: ignore[call-arg]
    assert np.abs(now.image.astype(int) - frames[0]).mean() < 0.5
    for frame, action in zip(frames[1:6], executed[:5], strict=True):
        now = world.step(action)
        assert np.abs(now.image.astype(int) - frame).mean() < 1.0


@pytest.mark.parametrize("style", foreign_copies.STYLES)
def test_a_copy_as_another_lab_records_it_is_read_the_same(
    demonstrations: DemonstrationConfig, tmp_path: Path, style: str
) -> None:
    found = foreign_copies.copied_and_read(demonstrations.out, tmp_path, style)
    assert found.pop("pixel") == 0.0 and max(found.values()) < 1e-5, found


def test_card(demonstrations: DemonstrationConfig) -> None:
    card = json.loads((demonstrations.out / "meta" / "magma.json").read_text())
    assert card["variant"] == "random" and card["frame_rate_hz"] == 5
    assert card["counts"]["stack_blocks"]["episodes"] == 1
    assert np.array(card["camera_intrinsics"]).shape == (3, 3)
    assert np.array(card["camera_extrinsics_base_to_optical"]).shape == (4, 4)


def test_goes_on_where_it_stopped_and_refuses_other_settings(demonstrations: DemonstrationConfig) -> None:
    there = Dataset(demonstrations.out)
    whole = {episode.name: recorded(demonstrations.out, episode.name.rpartition("-")[0]) for episode in there.episodes}
    # As a run that was killed in the middle of its second episode leaves a set.
    last = there.episodes[-1]
    info = json.loads((demonstrations.out / "meta" / "info.json").read_text())
    info |= {"total_episodes": 1, "total_frames": last.start or there.episodes[0].length, "total_tasks": 1}
    (demonstrations.out / "meta" / "info.json").write_text(json.dumps(info))
    kept = there.episodes[0].data
    before = kept.stat().st_mtime_ns
    rows = generate(demonstrations)
    assert {row["episodes"] for row in rows.values()} == {1}
    assert kept.stat().st_mtime_ns == before
    for episode in Dataset(demonstrations.out).episodes:
        again = recorded(demonstrations.out, episode.name.rpartition("-")[0])
        assert len(again["actions"]) == rows[str(again["task"])]["steps"]
        assert np.array_equal(again["proprioception"], whole[episode.name]["proprioception"])
    other = DemonstrationConfig(
        out=demonstrations.out, tasks=demonstrations.tasks, episodes=1, seed=3, noise=NoiseConfig(scale=0.5)
    )
    with pytest.raises(ValueError, match="choose another --out"):
        generate(other)


def test_an_actor_acts_and_the_expert_says_what_it_would_do(tmp_path: Path) -> None:
    actor = f"magma:{Path(__file__).parents[2] / 'policy' / 'checkpoints' / 'magma-tiny'}"
    config = DemonstrationConfig(
        out=tmp_path, tasks=("stack_blocks",), episodes=1, seed=3, actor=actor, noise=NoiseConfig(scale=0.0)
    )
    generate(config)
    episode = recorded(tmp_path, "stack_blocks")
    actions, executed = episode["actions"], episode["executed"]
    expert = ScriptedExpert("stack_blocks")
    world = make_task("stack_blocks")
    now = world.reset("random", 3)
    for step, action in enumerate(executed):
        clean = expert.act(now.end_effector, now.object_poses)
        assert np.allclose(clean, actions[step], atol=1e-3), step
        now = world.step(action.astype(np.float64))
    # The policy's actions are bins, which the expert's are not.
    assert not np.allclose(actions[:, :6], executed[:, :6], atol=1e-4)
    assert json.loads((tmp_path / "meta" / "magma.json").read_text())["recording"]["actor"].startswith("magma ")
    with pytest.raises(ValueError, match="choose another --out"):
        generate(dataclasses.replace(config, actor=None))


@pytest.mark.parametrize("actor", ["expert", "hold", "magma:nowhere"])
def test_only_policies_that_look_at_pictures_are_actors(tmp_path: Path, actor: str) -> None:
    with pytest.raises(ValueError, match="magma:"):
        DemonstrationConfig(out=tmp_path, actor=actor)


def test_video_of_an_episode(tmp_path: Path) -> None:
    from magma_eval.videos import VideoWriter, captioned

    world = make_task("eggplant_in_basket")
    world.reset("eval", 0)
    picture = captioned(world.render_large(), ("put the eggplant in the basket", "step 0 of 60"))
    assert picture.shape == (512, 512, 3)
    with VideoWriter(tmp_path / "episode.mp4", (512, 512), 5.0) as video:
        for _ in range(5):
            video.write(picture)
        with pytest.raises(ValueError, match="512x512"):
            video.write(picture[:256])
    capture = cv2.VideoCapture(str(tmp_path / "episode.mp4"))
    assert capture.isOpened() and int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 5
    good, frame = capture.read()
    assert good and np.abs(frame[..., ::-1].astype(int) - picture).mean() < 12
    with pytest.raises(ValueError, match="even"):
        VideoWriter(tmp_path / "odd.mp4", (511, 512), 5.0)


def test_render_check_says_what_to_do_without_a_device() -> None:
    # No Vulkan driver is found when the loader is pointed at nothing.
    environment = os.environ | {"VK_ICD_FILENAMES": os.devnull, "VK_DRIVER_FILES": os.devnull}
    result = subprocess.run(
        [sys.executable, "-m", "magma_sim.render_check"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 1
    assert "./run setup" in result.stderr and "bookworm-backports" in result.stderr
