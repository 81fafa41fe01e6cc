"""Sets of every kind: converted without loss, other people's by a mapping file, found in the Hub's cache."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from magma_contracts.camera import project
from magma_contracts.errors import ConfigError
from magma_contracts.geometry.rotation_arrays import axis_angle_from_quaternion
from magma_contracts.geometry.rotation_forms import FORMS, quaternions
from magma_data.info import Feature
from magma_data.reader import Dataset
from magma_data.writer import DatasetWriter
from magma_policy.commands import data as command
from magma_policy.demonstrations.episode_file import DemonstrationError
from magma_policy.demonstrations.mapping import Mapping
from magma_policy.demonstrations.reader import held_out, read_demonstrations
from magma_policy.demonstrations.sources import find_set, open_set

NAMES = ["carrot-0", "carrot-1", "carrot-2", "spoon-7"]
STEPS = 6


@pytest.fixture
def files(write_set, tmp_path):
    """A set of .npz files."""
    return write_set(tmp_path / "files", NAMES, steps=STEPS)


@pytest.fixture
def converted(files, tmp_path):
    """The same as a LeRobot dataset."""
    assert command.main(["convert", str(files), str(tmp_path / "set")]) == 0
    return tmp_path / "set"


def same(one, other, but=()):
    for field in dataclasses.fields(one):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name in ("identity", "episode_names", *but):
            continue
        if isinstance(ours, np.ndarray):
            np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
            assert ours.dtype == theirs.dtype, field.name
        else:
            assert ours == theirs, field.name


def test_what_is_converted_is_the_same_to_the_bit(files, converted, tmp_path):
    before, after = read_demonstrations([files]), read_demonstrations([converted])
    same(before, after)
    assert [f"{name}.npz" for name in after.episode_names] == list(before.episode_names)
    assert held_out(before, 2).tolist() == held_out(after, 2).tolist(), "the held-out share stays"
    # Again, from the new format to itself: many files into few.
    assert command.main(["convert", str(converted), str(tmp_path / "again")]) == 0
    same(after, read_demonstrations([tmp_path / "again"]))
    assert Dataset(tmp_path / "again").card == Dataset(converted).card
    assert command.main(["convert", str(files), str(converted)]) == 1, "nothing is written over"


def test_films_lose_little_and_say_so(files, tmp_path):
    assert command.main(["convert", str(files), str(tmp_path / "films"), "--video"]) == 0
    dataset = Dataset(tmp_path / "films")
    assert dataset.info.features["observation.images.third_person"].dtype == "video"
    same(read_demonstrations([files]), read_demonstrations([tmp_path / "films"]), but=("frames",))


def test_pictures_beyond_memory_lie_in_a_file(converted, tmp_path):
    here = read_demonstrations([converted])
    there = read_demonstrations([converted], memory_bytes=3 * 128 * 128 * 3, folder=tmp_path)
    assert isinstance(there.frames, np.memmap) and not isinstance(here.frames, np.memmap)
    same(here, there)
    assert not list(tmp_path.glob("magma-frames*")), "it has no name, and goes with the process"


def test_the_hubs_cache_is_looked_into(converted, tmp_path, monkeypatch):
    hub = tmp_path / "home/hub/datasets--lab--carrots"
    shutil.copytree(converted, hub / "snapshots/abc123")
    (hub / "refs").mkdir()
    (hub / "refs/main").write_text("abc123")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert find_set(hub) == hub / "snapshots/abc123"
    assert find_set(Path("lab/carrots")) == hub / "snapshots/abc123"
    same(read_demonstrations([converted]), read_demonstrations([Path("lab/carrots")]))
    with pytest.raises(DemonstrationError, match="hf download"):
        find_set(Path("lab/spoons"))


# Other people's conventions. A copy of a set as another lab would have recorded it.

SIGN = {"closed": 0.8, "open": -0.2}


def foreign(files, folder, form="euler_xyz", kind="absolute", repeat=1, dtype="float64", unit=1.0):
    """A copy under another camera's name, at `repeat` times the rate, with the gripper the other way round; returns the
    entries of its mapping file."""
    demos = read_demonstrations([files])
    size = FORMS[form][0]

    def coded(rotation):
        if form in ("quaternion_xyzw", "quaternion_wxyz"):
            q = rotation.as_quat()
            return q if form.endswith("xyzw") else q[:, [3, 0, 1, 2]]
        if form == "axis_angle":
            return rotation.as_rotvec()
        if form == "euler_xyz":
            return rotation.as_euler("xyz")
        matrices = rotation.as_matrix()
        if form == "matrix":
            return matrices.reshape(-1, 9)
        columns = matrices[:, :, :2]
        return (columns if form == "rotation_6d_rows" else columns.transpose(0, 2, 1)).reshape(-1, 6)

    def pose(position, rotation, opening):
        gripper = SIGN["closed"] + opening * (SIGN["open"] - SIGN["closed"])
        return np.concatenate([position / unit, coded(rotation), gripper[:, None]], axis=1)

    length = 4 + size
    writer = DatasetWriter(
        folder,
        5.0 * repeat,
        {
            "observation.images.cam_high": Feature("image", (128, 128, 3)),
            "observation.state": Feature(dtype, (2 * length,)),
            "action": Feature(dtype, (length,)),
        },
        "so101",
    )
    for number in range(len(demos.episode_names)):
        rows = np.flatnonzero(demos.episode == number)
        state = demos.proprioception[rows].astype(np.float64)
        actions = demos.actions[rows].astype(np.float64)
        target = Rotation.from_quat(state[:, 10:14])
        measured = pose(state[:, :3], Rotation.from_quat(state[:, 3:7]), state[:, 14])
        told = pose(state[:, 7:10], target, state[:, 15])
        if kind == "absolute":
            aimed = pose(state[:, 7:10] + actions[:, :3], Rotation.from_rotvec(actions[:, 3:6]) * target, actions[:, 6])
        else:
            share = Rotation.from_rotvec(actions[:, 3:6] / repeat)
            aimed = pose(actions[:, :3] / repeat, share, actions[:, 6])
        frames = demos.frames[demos.frame_index[rows]]
        values = {
            "observation.images.cam_high": frames,
            "observation.state": np.concatenate([measured, told], axis=1),
            "action": aimed,
        }
        instruction = demos.instructions[demos.instruction[rows[0]]]
        writer.add({name: np.repeat(value, repeat, axis=0) for name, value in values.items()}, instruction)
    writer.flush()
    card = demos.cards[0]
    scale = {1.0: "m", 0.001: "mm"}[unit]
    columns = {
        "space": "end_effector", "rotation_form": form, "position_unit": scale,
        "gripper_closed": SIGN["closed"], "gripper_open": SIGN["open"],
    }  # fmt: skip
    return {
        "robot_type": "so101", "robot": card.robot or "arm", "camera": "observation.images.cam_high", "fps": 5.0,
        "state": {
            **columns, "position": "observation.state[0:3]", "rotation": f"observation.state[3:{3 + size}]",
            "gripper": f"observation.state[{3 + size}]", "target_position": f"observation.state[{length}:{length + 3}]",
            "target_rotation": f"observation.state[{length + 3}:{2 * length - 1}]",
            "target_gripper": f"observation.state[{2 * length - 1}]",
        },
        "action": {
            **columns, "kind": kind, "position": "action[0:3]", "rotation": f"action[3:{3 + size}]",
            "gripper": f"action[{3 + size}]",
        },
        "calibration": {
            "intrinsics": [list(row) for row in card.intrinsics],
            "extrinsics_base_to_optical": [list(row) for row in card.extrinsics], "table_height_m": card.table_height_m,
        },
    }  # fmt: skip


def read_by(entries, folder, path):
    path.write_text(yaml.safe_dump(entries))
    return read_demonstrations([folder], [Mapping.read(path)])


@pytest.mark.parametrize(
    ("form", "kind", "repeat", "unit"),
    [
        *((form, "absolute", 1, 1.0) for form in FORMS),
        ("quaternion_wxyz", "absolute", 3, 0.001),
        ("axis_angle", "delta", 1, 1.0),
        ("euler_xyz", "delta", 3, 1.0),
    ],
)
def test_a_copy_in_another_convention_gives_the_same_demonstrations(files, tmp_path, form, kind, repeat, unit):
    entries = foreign(files, tmp_path / "theirs", form, kind, repeat, unit=unit)
    theirs = read_by(entries, tmp_path / "theirs", tmp_path / "robot.yaml")
    ours = read_demonstrations([files])
    np.testing.assert_allclose(theirs.actions, ours.actions, atol=3e-7)
    state, known = theirs.proprioception.copy(), ours.proprioception
    known = known.copy()
    for place in (slice(3, 7), slice(10, 14)):
        known[:, place] /= np.linalg.norm(known[:, place], axis=1, keepdims=True)
        state[:, place] *= np.sign((state[:, place] * known[:, place]).sum(1, keepdims=True))
    np.testing.assert_allclose(state, known, atol=3e-7)
    np.testing.assert_array_equal(theirs.frames, ours.frames)
    assert theirs.instructions == ours.instructions and theirs.cards[0].fits(ours.cards[0])
    assert np.isnan(theirs.marks[:, :3]).all(), "nobody told where the objects are"
    pixels = project(known[:, :3], *(np.array(m) for m in (ours.cards[0].intrinsics, ours.cards[0].extrinsics)))
    np.testing.assert_allclose(theirs.marks[:, 3] * 128, pixels, rtol=1e-4)


def test_the_usual_float32_costs_no_more_than_its_digits(files, tmp_path):
    entries = foreign(files, tmp_path / "theirs", dtype="float32")
    theirs = read_by(entries, tmp_path / "theirs", tmp_path / "robot.yaml")
    np.testing.assert_allclose(theirs.actions, read_demonstrations([files]).actions, atol=2e-6)


def test_what_was_told_last_is_the_action_before_when_nobody_says_otherwise(files, tmp_path):
    entries = foreign(files, tmp_path / "theirs")
    for name in ("target_position", "target_rotation", "target_gripper"):
        del entries["state"][name]
    theirs = read_by(entries, tmp_path / "theirs", tmp_path / "robot.yaml")
    dataset = Dataset(tmp_path / "theirs")
    told = dataset.read(dataset.episodes[0], ["action"])["action"]
    np.testing.assert_allclose(theirs.actions[1:STEPS, :3], np.diff(told[:, :3], axis=0), atol=1e-6)
    np.testing.assert_allclose(theirs.proprioception[1:STEPS, 7:10], told[:-1, :3], atol=1e-6)


def test_joints_become_poses_by_the_urdf(files, tmp_path):
    joints = (
        ("turn", "revolute", "base", "a", '<origin xyz="0 0 0.1"/><axis xyz="0 0 1"/>'),
        ("slide", "prismatic", "a", "b", '<axis xyz="1 0 0"/>'),
        ("end", "fixed", "b", "tip", '<origin xyz="0.2 0 0" rpy="0 0 0"/>'),
    )
    text = "".join(
        f'<joint name="{name}" type="{kind}"><parent link="{one}"/><child link="{other}"/>{more}</joint>'
        for name, kind, one, other, more in joints
    )
    (tmp_path / "arm.urdf").write_text(f'<robot name="arm">{text}</robot>')
    columns = {"space": "joints", "joints": "x[0:2]", "gripper": "x[2]", "gripper_closed": 0, "gripper_open": 100}
    entries = {
        "robot_type": "so101", "robot": "arm", "camera": "c", "fps": 10, "state": columns,
        "action": {**columns, "kind": "absolute", "joints": "action[0:2]", "gripper": "action[2]"},
        "kinematics": {"urdf": "arm.urdf", "base": "base", "tip": "tip", "joints": ["turn", "slide"]},
    }  # fmt: skip
    features = {"c": Feature("image", (8, 8, 3)), "x": Feature("float32", (3,)), "action": Feature("float32", (3,))}
    writer = DatasetWriter(tmp_path / "set", 10.0, features, "so101")
    x = np.array([[0.0, 0.1, 100], [np.pi / 2, 0.1, 50], [np.pi / 2, 0.3, 0]])
    writer.add({"c": np.zeros((3, 8, 8, 3), np.uint8), "x": x, "action": np.roll(x, -1, 0)}, "go")
    writer.flush()
    demos = read_by(entries, tmp_path / "set", tmp_path / "robot.yaml")
    np.testing.assert_allclose(demos.proprioception[:, :3], [[0.3, 0, 0.1], [0, 0.3, 0.1], [0, 0.5, 0.1]], atol=1e-6)
    np.testing.assert_allclose(demos.actions[0], [-0.3, 0.3, 0, 0, 0, np.pi / 2, 0.5], atol=1e-6)
    np.testing.assert_allclose(demos.proprioception[:, 14], [1, 0.5, 0])


def test_a_set_without_a_mapping_is_refused_with_one_to_fill_in(files, tmp_path, capsys):
    entries = foreign(files, tmp_path / "theirs")
    with pytest.raises(DemonstrationError, match="magma-data mapping"):
        open_set(tmp_path / "theirs")
    assert command.main(["mapping", str(tmp_path / "theirs")]) == 0
    text = capsys.readouterr().out
    (tmp_path / "asked.yaml").write_text(text)
    assert yaml.safe_load(text)["robot_type"] == "so101" and "cam_high" in text
    with pytest.raises(ConfigError, match=r"asked\.yaml: robot is still '\?'; fill it in"):
        Mapping.read(tmp_path / "asked.yaml")
    with pytest.raises(DemonstrationError, match="what its numbers mean is not known"):
        read_by(entries | {"robot_type": "another"}, tmp_path / "theirs", tmp_path / "robot.yaml")


WRONG = {
    "rotation_form": ("state", "euler_zyx", "rotation_form is 'euler_zyx', must be one of axis_angle"),
    "space": ("action", "tool", "space is 'tool'"),
    "kind": ("action", "velocity", "must be absolute or delta"),
    "gripper_open": ("state", SIGN["closed"], "are both 0.8"),
    "position": ("action", "action[0:2]", "position has three"),
    "gripper": ("action", "action[0:3]", "a gripper has one"),
    "rotation": ("state", "observation.state[3:30]", "the feature has"),
    "target_position": ("state", "nothing[0:3]", "names no numbers of the set"),
    "polarity": ("action", 1, "unknown keys"),
}


@pytest.mark.parametrize("entry", WRONG)
def test_an_entry_that_cannot_be_is_named(files, tmp_path, entry):
    part, value, words = WRONG[entry]
    entries = foreign(files, tmp_path / "theirs")
    entries[part][entry] = value
    with pytest.raises((ConfigError, DemonstrationError), match=words) as caught:
        read_by(entries, tmp_path / "theirs", tmp_path / "robot.yaml")
    assert all(line.isprintable() for line in str(caught.value).splitlines())


@pytest.mark.parametrize("change", [{"fps": 30}, {"camera": "cam_low"}, {"image_size": [0, 5]}, {"fps": "5"}])
def test_what_a_set_cannot_give_is_refused(files, tmp_path, change):
    entries = foreign(files, tmp_path / "theirs") | change
    with pytest.raises((ConfigError, DemonstrationError), match=next(iter(change))):
        read_by(entries, tmp_path / "theirs", tmp_path / "robot.yaml")


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "robot: [", "a: &x [*x]", "\x00", "!!python/object:os.system {}", "? : ?"]
)
def test_no_mapping_file_is_one_sentence(tmp_path, text):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"m\.yaml") as caught:
        Mapping.read(tmp_path / "m.yaml")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("form", FORMS)
def test_rotations_of_every_form_are_scipys(form):
    rotation = Rotation.random(200, random_state=0)
    coded = {
        "axis_angle": rotation.as_rotvec(), "euler_xyz": rotation.as_euler("xyz"),
        "quaternion_xyzw": rotation.as_quat(), "quaternion_wxyz": rotation.as_quat()[:, [3, 0, 1, 2]],
        "matrix": rotation.as_matrix().reshape(-1, 9),
        "rotation_6d": rotation.as_matrix()[:, :, :2].transpose(0, 2, 1).reshape(-1, 6),
        "rotation_6d_rows": rotation.as_matrix()[:, :, :2].reshape(-1, 6),
    }[form]  # fmt: skip
    np.testing.assert_allclose(axis_angle_from_quaternion(quaternions(coded, form)), rotation.as_rotvec(), atol=1e-9)
    with pytest.raises(ValueError, match="numbers"):
        quaternions(coded[:, :-1], form)


def test_info_and_check_tell_what_is_there_and_what_is_wrong(converted, files, tmp_path, capsys):
    for folder in (converted, files):
        assert command.main(["info", str(folder)]) == 0
        said = capsys.readouterr().out
        assert "4 episodes" in said and "put the carrot" in said
        assert command.main(["check", str(folder)]) == 0
    assert "nothing wrong was found" in capsys.readouterr().out
    features = {"x": Feature("float32", (2,)), "action": Feature("float32", (2,))}
    writer = DatasetWriter(tmp_path / "bad", 10.0, features, "arm")
    x = np.zeros((5, 2))
    x[3, 1] = np.nan
    gap = np.array([0, 0.1, 0.2, 0.7, 0.8], np.float32)
    writer.add({"x": x, "action": np.zeros((5, 2)), "timestamp": gap}, "go")
    writer.add({"x": np.zeros((5, 2)), "action": np.zeros((5, 2)), "timestamp": gap[::-1]}, "go")
    writer.add({"x": np.zeros((5, 2)), "action": np.zeros((5, 2)), "timestamp": gap[[0, 1, 2]].repeat(2)[:5] / 3 +
                np.arange(5, dtype=np.float32) / 10 * 1.12}, "go")  # fmt: skip
    writer.flush()
    assert command.main(["check", str(tmp_path / "bad")]) == 1
    said = capsys.readouterr().out
    assert "x is not finite: nan at step 3" in said
    assert "a gap, longer than the clock's 0.1 s, ends at the time: 0.7 at step 3" in said
    assert "the time does not go forward" in said
    data = converted / "data/chunk-000/file-000.parquet"
    data.write_bytes(data.read_bytes()[:-100])
    assert command.main(["check", str(converted)]) == 1
    assert "cut off or damaged" in capsys.readouterr().out


def test_the_page_shows_pictures_marks_and_actions_and_trusts_nobody(files, tmp_path, capsys):
    path = files / "episodes/carrot-0.npz"
    with np.load(path) as known:
        arrays = dict(known) | {"instruction": np.array("put <script>alert(1)</script> down")}
    np.savez_compressed(path, **arrays)
    assert command.main(["view", str(files), "--out", str(tmp_path / "page"), "--episodes", "2"]) == 0
    page = (tmp_path / "page/index.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert page.count("<h2>") == 2 and "data:image/png" in page and "<polyline" in page and "source_centre" in page
    assert "http" not in page, "nothing comes from elsewhere"


def test_a_checkpoints_geometry_needs_a_calibrated_camera(files, tmp_path):
    entries = foreign(files, tmp_path / "theirs")
    del entries["calibration"]
    demos = read_by(entries, tmp_path / "theirs", tmp_path / "robot.yaml")
    with pytest.raises(ConfigError, match="not calibrated"):
        demos.cards[0].camera(0.02)
    mappings = ["--mappings", str(tmp_path / "robot.yaml")]
    assert command.main(["convert", str(tmp_path / "theirs"), str(tmp_path / "ours"), *mappings]) == 0
    again = read_demonstrations([tmp_path / "ours"])
    np.testing.assert_array_equal(again.actions, demos.actions)
    assert again.cards[0].intrinsics == () and json.loads((tmp_path / "ours/meta/magma.json").read_text())["robot"]
